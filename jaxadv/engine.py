"""Many examples through one compiled step: lanes, refill, devices. The only pmap.

A lane whose example ended is given the next one at the next look of the host. `start`
costs no forward pass, so a refill costs no step. Each device runs its own lanes; the
compiled step has no collective.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxadv import memory
from jaxadv.core import Example, Trial
from jaxadv.drive import Driver, Lane, Watch
from jaxadv.lanes import Clock, Pace, fetch, lanes_for, pack, refills, stack

Array = jax.Array
_QUIET_S = 5.0  # the host hears of a run that long, at the least
# passes that idle lanes may waste, for each lane, before fewer are compiled: about what
# compiling costs, so that the tail of a queue costs at most twice its best
_WASTED_PASSES = 128
TUNED = -1  # steps between looks: from what a run measures of itself
_FIRST_CHUNK = 8  # before it has


class Outcome(NamedTuple):
  """An example at its end."""

  id: int
  steps: int
  best: Trial  # numpy
  watch: Watch  # numpy
  seconds: float  # its share of the device's time: each look divided by the live lanes


class Look(NamedTuple):
  """What the host saw since it last yielded."""

  outcomes: tuple[Outcome, ...]
  lane_steps: int  # computed, on all lanes
  seconds: float  # of stepping
  waited: float  # seconds, for examples
  compiling: float = 0.0  # seconds, of programs of fewer lanes or other chunks
  chunk: int = 1  # steps between looks


class Compiled(NamedTuple):
  """The three programs of one example shape, and what they cost to compile."""

  start: Callable
  advance: Callable
  refill: Callable
  shape: tuple[int, int]  # devices, lanes
  slots: int  # lanes of a device that one refill can fill
  chunk: int  # steps between looks at the host
  tuned: bool  # whether a run may change it
  passes: int  # forward and backward, of a step
  resize: Callable[[int, int], "Compiled"]  # the same with other lanes and chunk
  seconds: float
  bytes: int  # that a step needs on each device; 0: not known


def replicate(tree: Any, devices: Sequence[Any]) -> Any:
  """Copies to every device, once: unplaced parameters are copied at every call."""
  mesh = Mesh(np.asarray(devices), ("devices",))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def default_chunk(devices: Sequence[Any]) -> int:
  """Steps between looks: 1 on CPU, whose convolutions are slow in control flow."""
  return 1 if devices[0].platform == "cpu" else TUNED


def compile_lanes(
  driver: Driver,
  params: Any,
  key: Array,
  example: Example,
  *,
  lanes: int,
  chunk: int,
  devices: Sequence[Any],
  precision: str = "default",
  slots: int = 8,
) -> Compiled:
  """Compiles for examples shaped like `example`, `lanes` of them on each device.

  chunk: steps between looks at the host; TUNED: 8, until `run` has lost as much time by
  that as compiling another takes. precision: of jax's matrix products and convolutions,
  in the forward and the backward pass. slots: lanes of a device that one refill can
  fill; few, as all of them travel to the device, and more refills are made where more
  lanes end at once.
  """
  tuned = chunk == TUNED
  if tuned:
    chunk = _FIRST_CHUNK
  began = time.perf_counter()

  def start(params, key, examples):
    return jax.vmap(driver.start, (None, None, 0))(params, key, examples)

  def advance(params, key, lane: Lane, examples):
    def one(lane):
      return jax.vmap(driver.advance, (None, None, 0, 0))(params, key, lane, examples)

    return (
      one(lane)
      if chunk == 1
      else jax.lax.fori_loop(0, chunk, lambda _, s: one(s), lane)
    )

  def refill(params, key, lane, examples, at, incoming):
    started = start(params, key, incoming)

    def put(old, new):  # a slot that stays empty points past the last lane
      return old.at[at].set(new, mode="drop")

    return jax.tree.map(put, lane, started), jax.tree.map(put, examples, incoming)

  def pmap(function, mapped, donate=()):
    axes = (None, None) + (0,) * mapped
    return jax.pmap(function, in_axes=axes, devices=devices, donate_argnums=donate)

  examples = stack([example] * (lanes * len(devices)), (len(devices), lanes))
  slots = min(lanes, slots)
  at = np.zeros((len(devices), slots), np.int32)
  with jax.default_matmul_precision(precision):
    started = pmap(start, 1).lower(params, key, examples).compile()
    # real arrays: lowered by their shapes alone, pmap fails on several processes
    lane = started(params, key, examples)
    advanced = pmap(advance, 2, (2,)).lower(params, key, lane, examples).compile()
    incoming = stack([example] * at.size, at.shape)
    refilled = pmap(refill, 4, (2, 3))
    refilled = refilled.lower(params, key, lane, examples, at, incoming).compile()

  def resize(lanes, chunk):
    options = {"chunk": chunk, "devices": devices, "precision": precision}
    options |= {"lanes": lanes, "slots": slots}
    resized = compile_lanes(driver, params, key, example, **options)
    return resized._replace(tuned=tuned, resize=resize)

  attack, shape = driver.attack, (len(devices), lanes)
  passes = attack.forward_passes + attack.backward_passes
  seconds = time.perf_counter() - began
  programs = (started, advanced, refilled)
  needed = memory.needed_bytes(advanced)
  rest = (passes, resize, seconds, needed)
  return Compiled(*programs, shape, slots, chunk, tuned, *rest)


def fit(compiled: Compiled, most: int) -> Compiled:
  """The same with as many lanes as the devices' free memory holds, at most `most`."""
  lanes = compiled.shape[1]
  free = min(memory.free_bytes(device) for device in jax.local_devices())
  fitting = min(most, memory.lanes_that_fit(compiled.bytes, lanes, free))
  if fitting == lanes:
    return compiled
  fitted = compiled.resize(fitting, compiled.chunk)
  return fitted._replace(seconds=compiled.seconds + fitted.seconds)


def run(
  compiled: Compiled, params: Any, key: Array, examples: Iterable[Example]
) -> Iterator[Look]:
  """Yields a Look whenever examples have ended, and every few seconds, until all have.

  examples: any number, all of the shape that `compiled` was made for, read only as
  lanes become free. params and key: replicated on the devices (`replicate`). What is
  yielded has been fetched, its lanes are refilled and the next step is on its way, so
  the device works while the caller does.
  """
  shape, queue, clock, pace = compiled.shape, iter(examples), Clock(), Pace()
  waited = 0.0

  def draw(count):
    nonlocal waited
    began = time.perf_counter()
    drawn = list(itertools.islice(queue, count))
    waited += time.perf_counter() - began
    return drawn

  drawn = draw(shape[0] * shape[1])
  if not drawn:
    return
  idle = drawn[0]._replace(id=np.int32(-1))
  held = stack(drawn + [idle] * (shape[0] * shape[1] - len(drawn)), shape)
  ids = held.id.copy()
  spent, seconds, steps, wasted, compiling = np.zeros(shape), 0.0, 0, 0, 0.0
  lane = compiled.start(params, key, held)
  # placed once: host arrays would be copied again at every step until the first refill
  held = jax.device_put(held, lane.done.sharding)
  dispatched = resumed = time.perf_counter()
  lane = compiled.advance(params, key, lane, held)
  while True:
    done = np.asarray(jax.device_get(lane.done)) & (ids >= 0)
    seen, waited_before = time.perf_counter(), waited
    took = clock.took(dispatched, resumed)
    live = ids >= 0
    spent[live] += took / live.sum()
    seconds, steps = seconds + took, steps + compiled.chunk * ids.size
    wasted += compiled.chunk * compiled.passes * int((~live).sum())
    outcomes = tuple(
      Outcome(int(ids[d, at]), int(taken), best, watch, float(spent[d, at]))
      for d, at, (taken, best, watch) in fetch(lane, done)
    )
    spent[done] = 0.0
    for at, incoming in refills(done, draw(done.sum()), idle, compiled.slots):
      lane, held = compiled.refill(params, key, lane, held, at, incoming)
      for d, slot in zip(*np.nonzero(at < ids.shape[1]), strict=True):
        ids[d, at[d, slot]] = incoming.id[d, slot]
    going = (ids >= 0).any()
    gap = time.perf_counter() - seen - (waited - waited_before)
    pace.looked(compiled.chunk, took, gap, [outcome.steps for outcome in outcomes])
    fewer, chunk = ids.shape[1], compiled.chunk
    if wasted > _WASTED_PASSES * ids.size:
      fewer = min(fewer, lanes_for(ids))
    if compiled.tuned and pace.lost(chunk) > compiled.seconds:
      chunk = pace.best()
    if going and (fewer, chunk) != (ids.shape[1], compiled.chunk):
      compiled = compiled.resize(fewer, chunk)
      lane, held, ids, spent = pack((lane, held), ids, spent, fewer)
      clock, pace = Clock(), Pace()
      wasted, compiling = 0, compiling + compiled.seconds
    dispatched = time.perf_counter()
    if going:
      lane = compiled.advance(params, key, lane, held)
    if outcomes or seconds > _QUIET_S:
      yield Look(outcomes, steps, seconds, waited, compiling, compiled.chunk)
      seconds, steps, waited, compiling = 0.0, 0, 0.0, 0.0
      resumed = time.perf_counter()
    else:
      resumed = dispatched
    if not going:
      return
