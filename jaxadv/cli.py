"""How every experiment starts and ends: flags, errors as one sentence, exit codes."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jaxadv import compile_cache, memory, profiling
from jaxadv.errors import InputError


def run(main: Callable[[ConfigDict], None]) -> None:
  """Parses --config=FILE and --config.KEY=VALUE, then calls main(config).

  --profile writes what jax's profiler sees to WORKDIR-profile/, for TensorBoard or
  Perfetto, and prints the costliest operations; for short runs, as it grows. What was
  compiled is kept on disk (`compile_cache`).

  Exit codes: 0; 2 for bad input; 3 for a full disk or memory; 130 for Ctrl-C. One
  sentence on stderr, never a traceback, for all but defects of ours.
  """
  logging.set_verbosity(logging.WARNING)  # orbax tells of every file
  flag = config_flags.DEFINE_config_file("config", None, "Path of a config.")
  profile = flags.DEFINE_bool("profile", False, "Trace the run with jax.profiler.")

  def parse(arguments):
    try:
      rest = flags.FLAGS(arguments, known_only=False)
      if len(rest) > 1:
        raise InputError(
          f"{rest[1]!r} is no flag: give --config=FILE --config.KEY=VALUE"
        )
      if flag.value is None:
        raise InputError("no config: give --config=configs/NAME.py")
      flag.value.keys()  # raises what the config file raised
      if not isinstance(flag.value, ConfigDict):
        kind = type(flag.value).__name__
        raise InputError(f"get_config() returned a {kind}: return a ConfigDict")
      return rest
    except Exception as error:  # a config file is code: it may raise anything
      _stop(_explain(error, arguments), 2)

  def guarded(arguments):
    del arguments
    compile_cache.enable()
    memory.keep_freed()
    try:
      with _profiled(flag.value) if profile.value else contextlib.nullcontext():
        main(flag.value)
    except InputError as error:
      _stop(error, 2)
    except KeyboardInterrupt:
      _stop("stopped; the same command goes on where this run is", 130)
    except Exception as error:
      _stop_if_full(error)
      raise

  app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def _profiled(config: ConfigDict) -> Iterator[None]:
  folder = Path(f"{config.get('workdir', 'runs/tables')}-profile")
  with profiling.profiled(folder):
    yield
  print(
    f"\nOperations of the device\n{profiling.described(profiling.operations(folder))}"
  )
  print(f"profile: {folder}; open it with TensorBoard or ui.perfetto.dev", flush=True)


def _stop_if_full(error: Exception):
  """Exit 3 for a full disk or device memory; orbax and XLA hide both in messages."""
  message = str(error)
  full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
  if full or "No space left on device" in message:
    _stop(
      "the disk is full; the rows so far are intact: free some space, and the same "
      "command goes on",
      3,
    )
  if "RESOURCE_EXHAUSTED" in message:
    _stop(
      "the device's memory is full: give a smaller --config.runtime.lane_chunks (or "
      "batch_chunks, train.batch); all that was finished is stored",
      3,
    )


def _explain(error: Exception, arguments: Sequence[str]) -> str:
  """What is wrong with a command line, from what absl and ml_collections raise."""
  # absl takes one dash too
  given = [one for one in arguments if one.lstrip("-").startswith("config")]
  if isinstance(error, InputError):
    return str(error)
  if isinstance(error, flags.Error):
    said, _, trace = str(error).partition("Error whilst parsing config file:")
    if not trace:
      return said
    last = trace.strip().splitlines()[-1]  # of a traceback: "ValueError: ..."
    return f"{given[0]}: {last.partition(': ')[2] or last}"
  if isinstance(error, OSError) and "No such file" in str(error):
    return f"{given[0]}: there is no such file; the configs are in configs/"
  if isinstance(error, AttributeError | KeyError):
    name = str(error).strip("\"' ")
    for argument in given:
      if name and name in argument.partition("=")[0]:
        return (
          f"{argument} names no key of the config: see the file for its keys; one that "
          "it leaves to a default must be written there first"
        )
  return f"{' '.join(given)} failed ({type(error).__name__}: {error})"


def _stop(error: object, code: int):
  sentence = " ".join(str(error).split())
  print(f"error: {sentence}", file=sys.stderr, flush=True)
  sys.exit(code)
