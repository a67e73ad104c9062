"""Several processes of one run: GPU hosts, the hosts of a TPU pod, or one machine.

Every process runs the same command, attacks its own share of the clips on its own
devices, and writes its own rows; nothing is exchanged between them but a word at the
end, so that the first can report on the rows of all. So where one dies the others go
on, as jax's processes do not by themselves; only the first can't be missed, since it is
where the others meet.
"""

import atexit
import re

import jax
from jax.experimental.multihost_utils import ProcessFailureError, live_devices

from jaxadv.errors import InputError


def join(distributed: str, *, together: bool = False) -> tuple[int, int]:
  """(this process's index, how many there are); before any device is used.

  distributed: "": this process alone; "auto": as TPU pods and clusters such as SLURM
  tell; "HOST:PORT,COUNT,INDEX": by hand, HOST being where process 0 runs.
  together: a step of one needs all others, so all end where one dies.
  """
  if not distributed:
    return 0, 1
  if distributed == "auto":
    _initialize(distributed, together)
    return jax.process_index(), jax.process_count()
  matched = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", distributed)
  if not matched or int(matched[3]) >= int(matched[2]):
    raise InputError(
      f"runtime.distributed is {distributed!r}: give auto, or HOST:PORT,COUNT,INDEX "
      "with an INDEX from 0 to COUNT - 1, such as 10.0.0.1:1234,2,0"
    )
  address, count, index = matched[1], int(matched[2]), int(matched[3])
  _initialize(distributed, together, address, count, index)
  return index, count


def _initialize(distributed: str, together: bool, *where) -> None:
  jax.config.update("jax_enable_recoverability", not together)
  try:
    jax.distributed.initialize(*where)
  except (ValueError, RuntimeError) as error:
    said = " ".join(str(error).split())
    raise InputError(
      f"runtime.distributed is {distributed!r}, and the processes do not find each "
      f"other ({said}): give HOST:PORT,COUNT,INDEX, and start all of them"
    ) from error
  if not together:
    atexit.register(_leave)


def wait_for_all() -> set[int]:
  """Returns when every process that lives has come here: the indices of the others.

  However long that takes: a collective on the devices would give up after 30 s.
  """
  if jax.process_count() == 1:
    return set()
  live: set[int] = set()
  try:
    with live_devices(jax.devices()) as devices:
      live = {device.process_index for device in devices}
  except ProcessFailureError as error:  # while they were waited for
    live -= {device.process_index for device in error.failed_devices}
  return set(range(jax.process_count())) - live


def _leave() -> None:
  """The first process leaves last, as the others would be ended with it."""
  if jax.process_index() > 0:
    jax.distributed.shutdown()
    return
  print("the first process ends when the others have", flush=True)
  while len(wait_for_all()) < jax.process_count() - 1:
    pass
