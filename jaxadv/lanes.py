"""Lanes on devices: stacked, fetched as they end, filled again, packed together."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxadv.drive import Lane

Array = jax.Array


def stack(examples, shape):
  def one(*leaves):
    return np.stack(leaves).reshape(shape + np.shape(leaves[0]))

  return jax.tree.map(one, *examples)


def fetch(lane: Lane, done: np.ndarray) -> Iterator[tuple[int, int, Any]]:
  """(device, lane, (steps, best, watch) in numpy) of the lanes that are done.

  Only these leave their device.
  """
  kept = (lane.step, lane.best, lane.watch)
  on_device = jax.tree.map(_shards, kept, is_leaf=lambda leaf: isinstance(leaf, Array))
  picked = [
    jax.tree.map(
      lambda shards, d=d, at=at: shards[d][0, at],
      on_device,
      is_leaf=lambda leaf: isinstance(leaf, dict),
    )
    for d, at in zip(*np.nonzero(done), strict=True)
  ]
  for (d, at), one in zip(
    zip(*np.nonzero(done), strict=True), jax.device_get(picked), strict=True
  ):
    yield int(d), int(at), one


def _shards(leaf: Array) -> dict[int, Array]:
  """A pmapped array's parts: its place on the first axis -> [1, lanes, ...]."""
  return {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}


class Clock:
  """How long the device stepped, though the host works on other things meanwhile."""

  def __init__(self):
    self.typical = float("inf")

  def took(self, dispatched: float, resumed: float) -> float:
    """Seconds of a step that was dispatched then, whose result is here now.

    Where the host came to wait for it only later (`resumed`), the device may have been
    done long since: no more than the last step counts for which it waited throughout.
    """
    now = time.perf_counter()
    if resumed > dispatched:
      return min(now - dispatched, max(now - resumed, self.typical))
    self.typical = now - dispatched
    return self.typical


class Pace:
  """How many steps there should be between two looks of the host.

  A device that idles for `gap` seconds at each look, and examples that end after T
  steps of s seconds, lose gap / n + s (n - 1) / (2 T) seconds a step with n steps
  between looks: the second where a lane has ended and nobody has seen it. Least at
  n = sqrt(2 T gap / s); the nearest power of two is taken.
  """

  def __init__(self):
    self._steps = self._ended = self._ended_steps = 0
    self._stepping = 0.0
    # the least seen: what fetching and refilling take is the same for every n
    self._gap = float("inf")

  def looked(self, steps: int, seconds: float, gap: float, ended: Sequence[int]):
    """After so many steps of all lanes; ended: the steps of the examples that ended."""
    self._steps += steps
    self._stepping += seconds
    self._gap = min(self._gap, gap)
    self._ended += len(ended)
    self._ended_steps += sum(ended)

  def best(self) -> int:
    """1 to 64, from what has been seen; 0 while no example has ended."""
    if not self._ended:
      return 0
    at = math.sqrt(2 * self._gap / self._late())
    return 2 ** min(6, max(0, round(math.log2(max(at, 1)))))

  def lost(self, chunk: int) -> float:
    """Seconds that `chunk` has cost more than the best would have."""
    best = self.best()
    return self._steps * (self._each(chunk) - self._each(best)) if best else 0.0

  def _each(self, chunk):
    return self._gap / chunk + self._late() * (chunk - 1) / 2

  def _late(self):
    """s / T: seconds a step, for two steps that a look comes later."""
    each = max(self._stepping / self._steps, 1e-9)
    return each * self._ended / max(1, self._ended_steps)


def lanes_for(ids: np.ndarray) -> int:
  """Lanes of a device, a power of two, that hold the examples still on their way."""
  devices, _ = ids.shape
  return 1 << max(0, -(-int((ids >= 0).sum()) // devices) - 1).bit_length()


def pack(trees, ids, spent, lanes):
  """The live lanes, and idle ones for the rest, side by side on fewer lanes."""
  order = np.argsort(ids.ravel() < 0, kind="stable")[: ids.shape[0] * lanes]
  shape = (ids.shape[0], lanes)

  def take(leaf):
    picked = leaf.reshape(-1, *leaf.shape[2:])[order]
    return picked.reshape(*shape, *leaf.shape[2:])

  packed = jax.jit(
    lambda trees: jax.tree.map(take, trees), out_shardings=trees[0].done.sharding
  )(trees)
  return (*packed, *(take(one) for one in (ids, spent)))


def refills(done, drawn, idle, slots):
  """Yields (at [devices, slots], examples [devices, slots, ...]) until every lane that
  is done has an example of those drawn, or an idle one; `at` past the last lane: none.
  """
  devices, lanes = done.shape
  free = [list(np.flatnonzero(row)) for row in done]
  queue = iter(drawn)
  while any(free):
    at = np.full((devices, slots), lanes, np.int32)
    incoming = [idle] * at.size
    for d, row in enumerate(free):
      for slot in range(min(slots, len(row))):
        at[d, slot] = row.pop(0)
        incoming[d * slots + slot] = next(queue, idle)
    yield at, stack(incoming, at.shape)
