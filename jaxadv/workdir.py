"""The folder of a run: claimed by one config, and by one process at a time."""

import csv
import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxadv.errors import InputError

_CONFIG = "config.json"
_WAIT_S = 300.0  # for the first of several processes
# what a run may change between two starts: it decides how fast, not what
RUNTIME_KEYS = ("runtime", "workdir")


def config_hash(config: Mapping[str, Any]) -> str:
  """12 hex digits of what decides the rows: all keys but RUNTIME_KEYS."""
  return hashlib.sha256(_text(config).encode()).hexdigest()[:12]


def _decisive(config):
  return {key: value for key, value in config.items() if key not in RUNTIME_KEYS}


def _text(config):
  return json.dumps(_decisive(config), sort_keys=True)


def claim(folder: str | Path, config: Mapping[str, Any], process: int = 0) -> Path:
  """Makes the folder, or takes up the run in it; locked until the process ends.

  process: of several that share the folder; each has a lock of its own.

  InputError where it can't be written, holds something else, holds a run of another
  config (the keys that differ are named), or is in use.
  """
  folder = Path(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / _lock(process), os.O_CREAT | os.O_RDWR, 0o644)
  except OSError as error:
    raise InputError(
      f"workdir {str(folder)!r} can't be written ({error.strerror}): give another one "
      "with --config.workdir=DIR"
    ) from error
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(lock)
    raise InputError(
      f"workdir {str(folder)!r} is in use by another process: wait for it, or give "
      "another one with --config.workdir=DIR"
    ) from error
  except OSError:
    pass  # a file system without locks, as on some clusters
  try:
    _take_up(folder, config, process)
  except BaseException:
    os.close(lock)
    raise
  return folder


def _lock(process):
  return f".lock-{process}" if process else ".lock"


def _take_up(folder, config, process):
  deadline = time.monotonic() + _WAIT_S
  while process and not (folder / _CONFIG).exists() and time.monotonic() < deadline:
    time.sleep(0.1)  # the first process writes it
  others = {p.name for p in folder.iterdir() if not p.name.startswith(".lock")}
  if (folder / _CONFIG).exists():
    _compare(folder, config)
  elif any(not name.endswith(".tmp") for name in others):
    (folder / _lock(process)).unlink()
    raise InputError(
      f"workdir {str(folder)!r} is not empty and holds no run of jaxadv "
      f"({sorted(others)[0]!r} is in it): give another one with --config.workdir=DIR"
    )
  else:
    write_text(folder / _CONFIG, json.dumps(dict(config), indent=1))


def _compare(folder, config):
  try:
    old = _flatten(_decisive(json.loads((folder / _CONFIG).read_text())))
  except (ValueError, AttributeError) as error:
    raise InputError(
      f"{folder / _CONFIG} is no config of jaxadv ({error}): give another workdir"
    ) from error
  new = _flatten(_decisive(json.loads(json.dumps(dict(config)))))
  differing = [key for key in old | new if old.get(key, ...) != new.get(key, ...)]
  if differing:
    key = differing[0]
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    raise InputError(
      f"workdir {str(folder)!r} holds a run of another config: {key} was "
      f"{old.get(key)!r} and is {new.get(key)!r}{more}; give another workdir, or "
      "delete this one"
    )


def _flatten(tree, prefix=""):
  flat = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      flat |= _flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def write_bytes(path: Path, content: bytes) -> None:
  """Whole or not at all: under a temporary name, flushed to the disk, renamed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(path.name + ".tmp")
  try:
    with open(temporary, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError:
    temporary.unlink(missing_ok=True)
    raise


def write_text(path: Path, content: str) -> None:
  """As `write_bytes`, UTF-8."""
  write_bytes(path, content.encode())


def _skipped(process):
  return f"skipped-{process}.csv" if process else "skipped.csv"


def write_skipped(folder: Path, reasons: Mapping[str, str], process: int = 0) -> None:
  """skipped.csv: file, reason; no file where nothing was skipped."""
  path = folder / _skipped(process)
  if not reasons:
    path.unlink(missing_ok=True)
  else:
    table = io.StringIO()
    csv.writer(table).writerows([("file", "reason"), *sorted(reasons.items())])
    write_text(path, table.getvalue())


def read_skipped(folder: Path, process: int = 0) -> dict[str, str]:
  """file -> reason, of what this process skipped."""
  path = folder / _skipped(process)
  if not path.exists():
    return {}
  with path.open(newline="", encoding="utf-8") as file:
    return {row["file"]: row["reason"] for row in csv.DictReader(file)}
