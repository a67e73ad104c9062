"""What the device did, by jax's profiler: a trace on disk, and a table of it."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
from jax.profiler import ProfileData

# their time is that of the operations inside
_CONTAINERS = {"call", "while", "conditional"}


class Operation(NamedTuple):
  """One kind of operation of the compiled programs, as XLA names it."""

  name: str
  calls: int
  seconds: float  # summed over the threads or streams that ran it


@contextlib.contextmanager
def profiled(folder: Path) -> Iterator[None]:
  """Writes the trace of what runs inside to the folder, for TensorBoard or Perfetto.

  Python's own calls are left out: they would be most of the trace, and slow the run.
  """
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with jax.profiler.trace(folder, profiler_options=options):
    yield


def operations(folder: Path) -> list[Operation]:
  """Those of the newest trace in the folder, the costliest first; [] without one.

  Operations that differ in their number alone (fft.1, fft.2) are one.
  """
  traces = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
  if not traces:
    return []
  calls: defaultdict[str, int] = defaultdict(int)
  spent: defaultdict[str, float] = defaultdict(float)
  for plane in ProfileData.from_file(str(traces[-1])).planes:
    for line in plane.lines:
      for event in line.events:
        name = dict(event.stats).get("hlo_op")
        if not isinstance(name, str):
          continue
        kind = re.sub(r"(\.\d+)+$", "", name)
        if kind not in _CONTAINERS:
          calls[kind] += 1
          spent[kind] += event.duration_ns / 1e9
  found = [Operation(kind, calls[kind], spent[kind]) for kind in spent]
  return sorted(found, key=lambda one: -one.seconds)


def described(found: list[Operation], most: int = 12) -> str:
  """A table of the costliest, and of the rest in one line."""
  total = sum(one.seconds for one in found)
  if not total:
    return "no operation of a compiled program was traced"
  shown, rest = found[:most], found[most:]
  if rest:
    calls, seconds = sum(one.calls for one in rest), sum(one.seconds for one in rest)
    shown = [*shown, Operation(f"{len(rest)} others", calls, seconds)]
  width = max(len(one.name) for one in shown)
  lines = [
    f"{one.name:{width}}  {one.calls:8}  {one.seconds:9.3f}  {one.seconds / total:6.1%}"
    for one in shown
  ]
  head = f"{'operation':{width}}  {'calls':>8}  {'seconds':>9}  {'share':>6}"
  return "\n".join([head, *lines])
