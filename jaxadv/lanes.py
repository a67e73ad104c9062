"""Lanes on devices: stacked, fetched as they end, filled again, packed together."""

import time
from collections.abc import Iterator
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
