"""Square Attack: random search that writes one square of the input a query."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged

# of 10,000 queries; after each the squares' share of the input halves (authors' code)
_HALVINGS = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])
_TILES = 5  # of a side of the first point, where coordinates share the radius
# samples of a waveform in a row, 8 ms at 32 kHz: what repeats from row to row is a tone
# with harmonics, which fools a sound model sooner than a click of as many samples
_ROW = 256


class SquareState(NamedTuple):
  candidate: Array
  trial: Trial
  delta: Array  # the point with the smallest margin so far
  margin: Array  # [], its margin
  taken: Array  # int32 [], queries


class Window(NamedTuple):
  """A rectangle of an input seen as `_shape` says, or one a coordinate."""

  top: Array
  left: Array
  height: Array
  width: Array


def _shape(x) -> tuple[int, int, int]:
  """Rows, columns, channels: [N] -> (N / 256, rounded up, 256, 1), of fewer than 256
  samples (N, 1, 1); [T, M] -> (T, M, 1), [H, W, ...] -> (H, W, channels)."""
  if x.ndim == 1 and x.size >= _ROW:
    return -(-x.size // _ROW), _ROW, 1
  rows, columns, *channels = (*x.shape, 1, 1)[: max(x.ndim, 2)]
  return rows, columns, int(np.prod(channels))


def _grid(value):
  """In that shape, the rest of the last row 0."""
  shape = _shape(value)
  return jnp.pad(value.ravel(), (0, np.prod(shape) - value.size)).reshape(shape)


def _back(grid, x):
  """Of such a shape, in that of x."""
  return jnp.broadcast_to(grid, _shape(x)).ravel()[: x.size].reshape(x.shape)


def _places(x):
  """int32 [H, 1, 1], [1, W, 1]."""
  rows, columns, _ = _shape(x)
  return jnp.arange(rows)[:, None, None], jnp.arange(columns)[None, :, None]


def _extent(mask) -> Window:
  """The smallest window that holds the mask: none of it is padding."""
  grid = _grid(mask) > 0

  def side(used):
    first, last = jnp.argmax(used), used.size - 1 - jnp.argmax(used[::-1])
    return first, jnp.maximum(last - first + 1, 1)

  (top, height), (left, width) = side(grid.any((1, 2))), side(grid.any((0, 2)))
  return Window(top, left, height, width)


def _placed(key, extent: Window, share, least: int = 1) -> Window:
  """Anywhere in it, a square with this share of its area, cut off where it is narrower.

  No side is shorter than `least` or the extent's own.
  """
  side = jnp.sqrt(share * extent.height * extent.width)

  def whole(most):
    return jnp.minimum(jnp.maximum(jnp.round(side), least), most).astype(int)

  height, width = whole(extent.height), whole(extent.width)
  k_top, k_left = jax.random.split(key)
  top = jax.random.randint(k_top, (), 0, extent.height - height + 1)
  left = jax.random.randint(k_left, (), 0, extent.width - width + 1)
  return Window(extent.top + top, extent.left + left, height, width)


def _inside(window: Window, x) -> Array:
  """bool [H, W, 1]."""
  row, column = _places(x)
  rows = (row >= window.top) & (row < window.top + window.height)
  return rows & (column >= window.left) & (column < window.left + window.width)


def _tiles(extent: Window, x) -> Window:
  """Which of the equal parts of the extent each coordinate is in: [H, 1, 1], [1, W, 1].

  _TILES x _TILES of them; as many in one column.
  """
  row, column = _places(x)

  def part(at, first, side, count):
    start = lambda tile: (tile * side + count - 1) // count  # noqa: E731
    tile = (at - first) * count // side
    return first + start(tile), start(tile + 1) - start(tile)

  along = _TILES if _shape(x)[1] > 1 else _TILES**2
  top, height = part(row, extent.top, extent.height, along)
  left, width = part(column, extent.left, extent.width, along)
  return Window(top, left, height, width)


def _pyramids(window: Window, x, across) -> Array:
  """Two halves of a window, one above and one below 0, highest in their middles.

  [H, W, 1], of use within the window. eta of the paper, eq. 2: with n half the length
  of a half, sum_{j = d + 1}^{n + 1} 1 / j^2 at the distance d from its middle, in the
  largest of both axes. across: bool [], whether the halves lie side by side.
  """
  row, column = _places(x)
  row, column = row - window.top, column - window.left
  at, length = jnp.where(across, column, row), jnp.where(across, *window[:1:-1])
  other, breadth = jnp.where(across, row, column), jnp.where(across, *window[2:])
  half = length // 2
  second = at >= half
  long = jnp.where(second, length - half, half)
  ahead = jnp.abs(at - second * half - long // 2)
  distance = jnp.maximum(ahead, jnp.abs(other - breadth // 2))
  reach = jnp.maximum(long, breadth) // 2
  sums = np.concatenate([[0], np.cumsum(1 / np.arange(1.0, max(x.shape) + 3) ** 2)])
  sums = jnp.asarray(sums, jnp.float32)
  height = sums[reach + 1] - sums[jnp.clip(distance, 0, reach)]
  return jnp.where(second, -height, height)


def _signs(key, shape):
  return jax.random.rademacher(key, shape, jnp.float32)


def _unit(norm, delta):
  return delta / jnp.maximum(norm.size(delta), 1e-30)


def _stripes(key, problem):
  """Every column at +-radius; every coordinate where there is but one column."""
  rows, columns, channels = _shape(problem.zero)
  signs = _signs(key, (1 if columns > 1 else rows, columns, channels))
  return _back(problem.radius * signs, problem.zero)


def _rewritten(key, problem, delta, share):
  """A square of +-radius, the sign by channel."""
  k_window, k_sign = jax.random.split(key)
  x = problem.zero
  inside = _inside(_placed(k_window, _extent(problem.example.mask), share), x)
  corner = problem.radius * _signs(k_sign, (1, 1, _shape(x)[2]))
  written = lambda value: problem.project(  # noqa: E731
    _back(jnp.where(inside, value, _grid(delta)), x)
  )
  new = written(corner)
  # else half of the queries would say what is known, with one channel
  return jnp.where(jnp.all(new == delta), written(-corner), new)


def _mounted(key, problem):
  """Pyramids on all tiles."""
  k_sign, k_across = jax.random.split(key)
  x = problem.zero
  tiles = _tiles(_extent(problem.example.mask), x)
  rows, columns, channels = _shape(x)
  across = jax.random.bernoulli(k_across) & (columns > 1)
  signs = _signs(k_sign, (rows, columns, channels))
  # the sign that was drawn for a tile's first coordinate
  signs = signs[jnp.clip(tiles.top, 0, rows - 1), jnp.clip(tiles.left, 0, columns - 1)]
  signs = signs.reshape(_shape(x))
  start = _back(_pyramids(tiles, x, across) * signs, x)
  start *= problem.example.mask
  return problem.radius * _unit(problem.norm, start)


def _moved(key, problem, delta, share):
  """A square's content plus pyramids, with the size that another, emptied, had."""
  k_one, k_two, k_sign, k_across = jax.random.split(key, 4)
  x, norm, mask = problem.zero, problem.norm, problem.example.mask
  extent = _extent(mask)
  # on fewer samples pyramids would cancel what is there, or repeat it
  one, two = (_placed(k, extent, share, least=3) for k in (k_one, k_two))
  first, second = _back(_inside(one, x), x), _back(_inside(two, x), x)
  across = jax.random.bernoulli(k_across) & (_shape(x)[1] > 1)
  signs = _signs(k_sign, (1, 1, _shape(x)[2]))
  hill = _back(_pyramids(one, x, across) * signs, x) * first * mask
  new = _unit(norm, hill) + _unit(norm, delta * first)
  rest = jnp.where(first | second, 0.0, delta)
  left = norm.remaining(problem.radius, norm.size(rest))
  return problem.project(rest + left * _unit(norm, new))


def square(*, steps: int = 5000, p_init: float = 0.0, rescale: bool = True) -> Attack:
  """Score-based: a proposal is kept where the margin falls; one query a step.

  linf: a square at a random place is set to +-radius, one sign a channel. l1, l2: half
  above and half below 0, `_pyramids` are added to a square's direction, which takes
  over the size that a second square, emptied, and the unfilled ball leave.
  A waveform [N] is seen as rows of 256 samples, one below the other: a square of side s
  is s stretches of s samples, 256 apart. Of fewer than 256 samples it is s samples in a
  row. Of images [H, W, C] it has all channels. Only within the smallest rectangle
  that holds the mask.
  The first point: +-radius by column, which of a waveform is noise of period 256; in l1
  and l2 pyramids on 5 x 5 tiles, 25 in a row where there is one column.
  The margin counts for targeted threats, too (the paper: cross-entropy).
  steps: queries, the first being the first point.
  p_init: s^2 over the input's size at first; halved after 0.1, 0.5, 2, 5, 10, 20,
    40, 60, 80% of the steps. 0: 0.8 in linf, 0.1 in l1 and l2 (authors: 0.05 to 0.8 in
    linf, 0.1 in l2; AutoAttack: 0.8 in all).
  rescale: if not, these are percent of 10,000 steps, as in AutoAttack.
  Andriushchenko et al., Square Attack: a query-efficient black-box adversarial attack
  via random search, ECCV 2020, algorithms 1 to 3; in l1: Croce and Hein, Mind the Box,
  ICML 2021, section 5.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(0 <= p_init <= 1, "p_init", p_init, "a number in [0, 1], 0: the norm's own")

  def init(key, problem):
    alone = problem.norm.remaining is None
    start = (_stripes if alone else _mounted)(key, problem)
    infinity = jnp.float32(jnp.inf)
    return SquareState(
      problem.project(start), unjudged(problem), problem.zero, infinity, jnp.int32(0)
    )

  def step(key, state, problem):
    logits = problem.logits(state.candidate)
    trial, margin = problem.judge(state.candidate, logits), problem.margin(logits)
    better = margin < state.margin
    delta = jnp.where(better, trial.delta, state.delta)
    alone = problem.norm.remaining is None
    halvings = jnp.sum(state.taken * (10000 / steps if rescale else 1) > _HALVINGS)
    share = (p_init or (0.8 if alone else 0.1)) * 0.5**halvings
    candidate = (_rewritten if alone else _moved)(key, problem, delta, share)
    margin = jnp.where(better, margin, state.margin)
    return SquareState(candidate, trial, delta, margin, state.taken + 1)

  return Attack(
    init, step, steps, FIRST_SUCCESS, backward_passes=0, norms=("l1", "l2", "linf")
  )
