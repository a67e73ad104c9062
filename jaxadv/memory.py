"""How many lanes fit: what the compiler says that a step needs, and what is free."""

import ctypes
import os
from pathlib import Path
from typing import Any

import jax

# chunks of 65,536 samples at once. On a CPU more are no faster (BUILD.md); elsewhere
# the first compilation tells how many more fit
FIRST_CHUNKS = 16
_MOST_CHUNKS = 512  # past what fills an accelerator, more lanes only lengthen the tail
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_SHARE = 0.8  # of what is free: the judge and the allocator's gaps need some too


def free_bytes(device: Any) -> int:
  """Of the device; of the host, divided by its devices, where it shares the host's."""
  stats = device.memory_stats()
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats["bytes_in_use"]
  return _host_bytes() // jax.local_device_count()


def _host_bytes() -> int:
  try:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("MemAvail"))
  except (OSError, StopIteration):  # not Linux: what is built in
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def needed_bytes(program: Any) -> int:
  """Of a compiled program on one device: arguments, results and what lies between."""
  stats = program.memory_analysis()
  if stats is None:  # a backend that does not tell
    return 0
  taken = stats.argument_size_in_bytes + stats.output_size_in_bytes
  return taken + stats.temp_size_in_bytes - stats.alias_size_in_bytes


def lanes_that_fit(needed: int, lanes: int, free: int) -> int:
  """How many lanes fit in `free` bytes, where `lanes` of them need `needed`.

  At least 1; `lanes` where the need is not known (0). What does not grow with the lanes
  (the parameters) is counted as if it did, so no more than fit are ever promised.
  """
  return max(1, int(_SHARE * free * lanes / needed)) if needed else lanes


def most_lanes(platform: str, chunks: int) -> int:
  """More lanes than these are of no use for clips of so many chunks."""
  most = FIRST_CHUNKS if platform == "cpu" else _MOST_CHUNKS
  return max(1, most // chunks)


def keep_freed() -> None:
  """Lets the process keep memory that it frees, so that each step finds it mapped.

  On a CPU, XLA frees what a step worked in; glibc gives blocks of 32 MiB and more back
  to the kernel, and the next step faults every page in again: on two cores a fifth of
  Carlini-Wagner's time (BUILD.md). One arena for all threads, as the others hold no
  block of 64 MiB: call this before threads start. Does nothing where the C library is
  another.
  """
  options = getattr(ctypes.CDLL(None), "mallopt", None)
  if options is not None:
    kept = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_THRESHOLD: 2**30, _ARENA_MAX: 1}
    for option, value in kept.items():
      options(option, value)


def lanes_for(lanes: int, forward_passes: int, backward_passes: int) -> int:
  """Of `lanes` for an attack of one forward and one backward pass a step, how many for
  one of more: at least 1.

  A step's rows are its forward passes, or its backward passes of half the work each:
  DeepFool, with 9, is a sixth faster on 3 lanes of a CPU than on 16 (BUILD.md).
  """
  return max(1, lanes // max(forward_passes, -(-backward_passes // 2), 1))


def is_full(error: BaseException) -> bool:
  """Whether a device ran out of memory."""
  return "RESOURCE_EXHAUSTED" in str(error)
