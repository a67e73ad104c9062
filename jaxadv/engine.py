"""Many examples through one compiled step: lanes, refill, devices. The only pmap.

A lane whose example ended is given the next one at the next look of the host. `start`
costs no forward pass, so a refill costs no step. Each device runs its own lanes; the
compiled step has no collective.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxadv.core import Example, Trial, where
from jaxadv.drive import Driver, Lane, Watch

Array = jax.Array
_QUIET_S = 5.0  # the host hears of a run that long, at the least


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


class Compiled(NamedTuple):
  """The three programs of one example shape, and what they cost to compile."""

  start: Callable
  advance: Callable
  refill: Callable
  shape: tuple[int, int]  # devices, lanes
  chunk: int  # steps between looks at the host
  seconds: float


def replicate(tree: Any, devices: Sequence[Any]) -> Any:
  """Copies to every device, once: unplaced parameters are copied at every call."""
  mesh = Mesh(np.asarray(devices), ("devices",))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def default_chunk(devices: Sequence[Any]) -> int:
  """Steps between looks: 1 on CPU, whose convolutions are slow in control flow."""
  return 1 if devices[0].platform == "cpu" else 8


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
) -> Compiled:
  """Compiles for examples shaped like `example`, `lanes` of them on each device.

  chunk: steps between looks at the host. precision: of jax's matrix products and
  convolutions, in the forward and the backward pass.
  """
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

  def refill(params, key, lane, examples, fresh, incoming):
    started = start(params, key, incoming)
    choose = jax.vmap(where)
    return choose(fresh, started, lane), choose(fresh, incoming, examples)

  def pmap(function, mapped, donate=()):
    axes = (None, None) + (0,) * mapped
    return jax.pmap(function, in_axes=axes, devices=devices, donate_argnums=donate)

  examples = _stack([example] * (lanes * len(devices)), (len(devices), lanes))
  fresh = np.ones((len(devices), lanes), bool)
  p_start, p_advance = pmap(start, 1), pmap(advance, 2, (2,))
  lane = jax.eval_shape(p_start, params, key, examples)
  with jax.default_matmul_precision(precision):
    programs = (
      p_start.lower(params, key, examples).compile(),
      p_advance.lower(params, key, lane, examples).compile(),
      pmap(refill, 4, (2, 3))
      .lower(params, key, lane, examples, fresh, examples)
      .compile(),
    )
  shape = (len(devices), lanes)
  return Compiled(*programs, shape, chunk, time.perf_counter() - began)


def _stack(examples, shape):
  def one(*leaves):
    return np.stack(leaves).reshape(shape + np.shape(leaves[0]))

  return jax.tree.map(one, *examples)


def _pick(tree, at):
  return jax.tree.map(lambda leaf: leaf[at], tree)


def run(
  compiled: Compiled, params: Any, key: Array, examples: Iterable[Example]
) -> Iterator[Look]:
  """Yields a Look whenever examples have ended, and every few seconds, until all have.

  examples: any number, all of the shape that `compiled` was made for, read only as
  lanes become free. params and key: replicated on the devices (`replicate`).
  """
  shape, queue = compiled.shape, iter(examples)
  idle = None
  waited = 0.0

  def draw(fresh):
    nonlocal idle, waited
    began = time.perf_counter()
    drawn = [next(queue, None) if free else None for free in fresh.ravel()]
    waited += time.perf_counter() - began
    if idle is None and drawn[0] is not None:
      idle = drawn[0]._replace(id=np.int32(-1))
    return None if idle is None else _stack([d or idle for d in drawn], shape)

  held = draw(np.ones(shape, bool))
  if held is None:
    return
  ids = held.id.copy()
  spent, seconds, looks = np.zeros(shape), 0.0, 0
  lane = compiled.start(params, key, held)
  # placed once: host arrays would be copied again at every step until the first refill
  held = jax.device_put(held, lane.done.sharding)
  while (ids >= 0).any():
    began = time.perf_counter()
    lane = compiled.advance(params, key, lane, held)
    done = np.asarray(jax.device_get(lane.done)) & (ids >= 0)
    took = time.perf_counter() - began
    spent[ids >= 0] += took / (ids >= 0).sum()
    seconds, looks = seconds + took, looks + 1
    if not done.any() and seconds > _QUIET_S:
      yield Look((), looks * compiled.chunk * ids.size, seconds, waited)
      seconds, looks, waited = 0.0, 0, 0.0
    if done.any():
      steps, best, watch = jax.device_get((lane.step, lane.best, lane.watch))
      outcomes = tuple(
        Outcome(
          int(ids[at]),
          int(steps[at]),
          _pick(best, at),
          _pick(watch, at),
          float(spent[at]),
        )
        for at in zip(*np.nonzero(done), strict=True)
      )
      incoming = draw(done)
      assert incoming is not None
      ids = np.where(done, incoming.id, ids)
      spent[done] = 0.0
      yield Look(outcomes, looks * compiled.chunk * ids.size, seconds, waited)
      seconds, looks, waited = 0.0, 0, 0.0
      if (ids >= 0).any():
        lane, held = compiled.refill(params, key, lane, held, done, incoming)
