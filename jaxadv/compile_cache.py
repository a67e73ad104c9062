"""Compiled programs on disk: a run that starts again needs not compile again.

jax's persistent cache; JAX_COMPILATION_CACHE_DIR=DIR puts it elsewhere and
JAX_ENABLE_COMPILATION_CACHE=0 turns it off.
"""

import collections
import os
from pathlib import Path

import jax

_HIT = "/jax/compilation_cache/cache_hits"
_counts: collections.Counter[str] = collections.Counter()


def enable() -> None:
  """Keeps what takes half a second or more to compile in ~/.cache/jaxadv/xla."""
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(caches / "jaxadv" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
  if not _counts:
    _counts[_HIT] = 0  # once: a listener can't be taken back
    jax.monitoring.register_event_listener(lambda event, **_: _counts.update([event]))


def hits() -> int:
  """Programs that this process found there, of those that it needed so far."""
  return _counts[_HIT]
