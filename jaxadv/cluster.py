"""Several processes of one run: GPU hosts, the hosts of a TPU pod, or one machine.

Every process runs the same command, attacks its own share of the clips on its own
devices, and writes its own rows; nothing is exchanged between them but a word at the
end, so that the first can report on the rows of all.
"""

import re

import jax
from jax.experimental import multihost_utils

from jaxadv.errors import InputError


def join(distributed: str) -> tuple[int, int]:
  """(this process's index, how many there are); before any device is used.

  distributed: "": this process alone; "auto": as TPU pods and clusters such as SLURM
  tell; "HOST:PORT,COUNT,INDEX": by hand, HOST being where process 0 runs.
  """
  if not distributed:
    return 0, 1
  if distributed == "auto":
    _initialize(distributed)
    return jax.process_index(), jax.process_count()
  matched = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", distributed)
  if not matched or int(matched[3]) >= int(matched[2]):
    raise InputError(
      f"runtime.distributed is {distributed!r}: give auto, or HOST:PORT,COUNT,INDEX "
      "with an INDEX from 0 to COUNT - 1, such as 10.0.0.1:1234,2,0"
    )
  address, count, index = matched[1], int(matched[2]), int(matched[3])
  _initialize(distributed, address, count, index)
  return index, count


def _initialize(distributed: str, *where) -> None:
  try:
    jax.distributed.initialize(*where)
  except (ValueError, RuntimeError) as error:
    said = " ".join(str(error).split())
    raise InputError(
      f"runtime.distributed is {distributed!r}, and the processes do not find each "
      f"other ({said}): give HOST:PORT,COUNT,INDEX, and start all of them"
    ) from error


def wait_for_all(what: str) -> None:
  """Returns when every process has come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
