"""How every experiment starts and ends: flags, errors as one sentence, exit codes."""

import errno
import sys
from collections.abc import Callable

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jaxadv.errors import InputError


def run(main: Callable[[ConfigDict], None]) -> None:
  """Parses --config=FILE and --config.KEY=VALUE, then calls main(config).

  Exit codes: 0; 2 for bad input; 3 for a full disk; 130 for Ctrl-C. One sentence on
  stderr, never a traceback, for all but defects of ours.
  """
  logging.set_verbosity(logging.WARNING)  # orbax tells of every file
  flag = config_flags.DEFINE_config_file("config", None, "Path of a config.")

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
    except (InputError, flags.Error) as error:
      _stop(error, 2)
    except Exception as error:  # a config file is code: it may raise anything
      given = [a for a in arguments if a.startswith("--config")]
      if isinstance(error, OSError) and "No such file" in str(error):
        _stop(f"{given[0]}: there is no such file; the configs are in configs/", 2)
      if isinstance(error, AttributeError | KeyError):
        name = str(error).strip("\"' ")
        unknown = [a for a in given if name and name in a.partition("=")[0]]
        if unknown:
          _stop(
            f"{unknown[0]} names no key of the config: see the file for its keys", 2
          )
      _stop(f"{' '.join(given)} failed ({type(error).__name__}: {error})", 2)

  def guarded(arguments):
    del arguments
    try:
      main(flag.value)
    except InputError as error:
      _stop(error, 2)
    except KeyboardInterrupt:
      _stop("stopped; the same command goes on where this run is", 130)
    except OSError as error:
      if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise
      where = f" while writing {error.filename}" if error.filename else ""
      _stop(
        f"the disk is full{where}; the rows so far are intact: free some space, and "
        "the same command goes on",
        3,
      )

  app.run(guarded, flags_parser=parse)


def _stop(error: object, code: int):
  sentence = " ".join(str(error).split())
  print(f"error: {sentence}", file=sys.stderr, flush=True)
  sys.exit(code)
