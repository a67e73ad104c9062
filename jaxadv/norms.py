"""What an attack needs of a norm. The only place that spells out l0 to linf.

All functions act on one perturbation of any shape. None divides by zero: the direction
of a zero gradient is zero.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv import hyperplane
from jaxadv.errors import InputError

Array = jax.Array
_TINY = 1e-30


class Norm(NamedTuple):
  """size: [...] -> [].
  project: delta [...], radius [], low [...], high [...] -> [...], the nearest point (l2
    distance) of the ball and of low <= delta <= high, where low <= 0 <= high; in l2 of
    the ball alone, then clipped, which stays in both. The bounds may be left out.
  direction: [...] -> [...], of size 1, what a step follows: `steepest`, but in l1,
    where one coordinate at a time gets nowhere, equal parts of the largest 1%.
  steepest: [...] -> [...], the direction of size 1 with the largest inner product with
    the argument. The bounds, low [...] and high [...], may be left out and count in l0
    only, where nothing else ends a coordinate.
  dual: [...] -> [], that largest inner product; bounds as in `steepest`.
  sample: key, mask [...] -> [...], uniform in the unit ball of the masked coordinates.
  within_l2: l2 radius [], mask [...] -> [], the radius of the largest ball of this
    norm inside the l2 ball: what turns an SNR in dB into a radius that guarantees it.
  sparse: [...], count [] -> [...], of size 1, equal parts of the `count` coordinates
    (at least one) where the argument is largest, with its sign; None where a step
    follows all coordinates anyway.
  hyperplane: normal [...], offset [], low [...], high [...] -> [...], the delta of the
    smallest size with <normal, delta> = offset and low <= delta <= high, where
    low <= 0 <= high; see `hyperplane.nearest`. None: not known.
  remaining: radius [], spent [] -> [], the size that is left to some coordinates where
    the others have so much; None where that is the radius whatever the others have.
  stride: radius [], low [...], high [...] -> [], the l2 size of a gradient step that
    crosses the ball in the coordinates that count; in l0, what is within the bounds.
  quantum: what two different sizes differ by at least.
  """

  size: Callable[[Array], Array]
  project: Callable[..., Array]
  steepest: Callable[..., Array]
  dual: Callable[..., Array]
  direction: Callable[[Array], Array]
  sample: Callable[[Array, Array], Array]
  within_l2: Callable[[Array, Array], Array]
  sparse: Callable[[Array, Array], Array] | None = None
  hyperplane: Callable[[Array, Array, Array, Array], Array] | None = None
  remaining: Callable[[Array, Array], Array] | None = None
  stride: Callable[[Array, Array, Array], Array] = lambda radius, low, high: radius
  quantum: float = 0.0


def unlimited(radius) -> bool:
  """Whether there is no ball, known without running anything: the float inf."""
  return isinstance(radius, float) and radius == float("inf")


def _l2_size(delta):
  largest = jnp.maximum(jnp.max(jnp.abs(delta)), _TINY)  # squares would under/overflow
  return largest * jnp.sqrt(jnp.sum((delta / largest) ** 2))


def _l2_unit(delta, *bounds):
  largest = jnp.max(jnp.abs(delta))
  faint = (largest > 0) & (largest < _TINY)
  delta = delta / jnp.where(faint, largest, 1.0)  # _TINY is no bound on gradients
  return delta / jnp.maximum(_l2_size(delta), _TINY)


def _l2_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  if unlimited(radius):
    return jnp.clip(delta, low, high)
  inside = delta * jnp.minimum(1.0, radius / jnp.maximum(_l2_size(delta), _TINY))
  return jnp.clip(inside, low, high)


def _l2_sample(key, mask):
  k_direction, k_radius = jax.random.split(key)
  direction = _l2_unit(jax.random.normal(k_direction, mask.shape) * mask)
  count = jnp.maximum(jnp.sum(mask), 1.0)
  return direction * jax.random.uniform(k_radius) ** (1 / count)


def _linf_size(delta):
  return jnp.max(jnp.abs(delta))


def _linf_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  inside = delta if unlimited(radius) else jnp.clip(delta, -radius, radius)
  return jnp.clip(inside, low, high)


def _linf_sample(key, mask):
  return jax.random.uniform(key, mask.shape, minval=-1.0, maxval=1.0) * mask


def _l1_size(delta):
  return jnp.sum(jnp.abs(delta))


def _l1_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  """argmin_p |d - p|_2 s.t. |p|_1 <= r, low <= p <= high. [...], [] -> [...].

  p = clip(soft threshold of d); the threshold by bisection, then by one step of regula
  falsi, as |p|_1 is piecewise linear in it. Duchi et al., Efficient Projections onto
  the l1-Ball, ICML 2008; with a box: Croce and Hein, Mind the Box, ICML 2021, prop.
  2.1.
  """
  if unlimited(radius):
    return jnp.clip(delta, low, high)
  magnitude = jnp.abs(delta)
  most = jnp.maximum(jnp.where(delta > 0, high, -low), 0.0)

  def kept(threshold):
    return jnp.minimum(jnp.maximum(magnitude - threshold, 0.0), most)

  def halve(_, ends):
    lower, upper = ends
    middle = (lower + upper) / 2
    fits = jnp.sum(kept(middle)) <= radius
    return jnp.where(fits, lower, middle), jnp.where(fits, middle, upper)

  ends = (jnp.float32(0.0), jnp.max(magnitude))
  lower, upper = jax.lax.fori_loop(0, 24, halve, ends)
  over, under = jnp.sum(kept(lower)) - radius, radius - jnp.sum(kept(upper))
  # where both are rounding, their quotient may be anything
  share = jnp.clip(over / jnp.maximum(over + under, _TINY), 0.0, 1.0)
  between = lower + (upper - lower) * share
  # rounding may leave it a little outside
  outside = jnp.sum(kept(between)) > radius
  shrunk = jnp.where(outside, kept(upper), kept(between))
  return jnp.where(jnp.sum(kept(0.0)) <= radius, kept(0.0), shrunk) * jnp.sign(delta)


def _l1_steepest(grad, *bounds):
  flat = jnp.abs(grad).ravel()
  at = jnp.argmax(flat)
  return (jnp.zeros_like(flat).at[at].set(1.0)).reshape(grad.shape) * jnp.sign(grad)


def kth_largest(magnitudes: Array, k: Array | int) -> Array:
  """The k-th largest, k >= 1, of float32 values >= 0. [...], [] -> [].

  Bisects their bits, which are in the order of the values: 31 sums, on CPU 15 times
  faster than a sort or top_k of 65,536 samples.
  """
  bits = jax.lax.bitcast_convert_type(magnitudes, jnp.int32)

  def halve(_, ends):
    lower, upper = ends
    middle = lower + (upper - lower) // 2
    enough = jnp.sum(bits >= middle) >= k
    return jnp.where(enough, middle, lower), jnp.where(enough, upper, middle)

  infinity = jax.lax.bitcast_convert_type(jnp.float32(jnp.inf), jnp.int32)
  lower, _ = jax.lax.fori_loop(0, 31, halve, (jnp.int32(0), infinity + 1))
  return jax.lax.bitcast_convert_type(lower, jnp.float32)


def _l1_sparse(grad, count):
  least = kth_largest(jnp.abs(grad), jnp.maximum(jnp.floor(count), 1))
  chosen = jnp.where(jnp.abs(grad) >= least, jnp.sign(grad), 0.0)
  return chosen / jnp.maximum(_l1_size(chosen), 1.0)


def _l1_direction(grad):
  """Equal parts, with its sign, of the 1% of coordinates where the gradient is largest.

  Of those where it is not 0: padding and what the mask forbids are not counted. More
  than 1% where several are equal.

  Tramer and Boneh, Adversarial Training and Robustness for Multiple Perturbations,
  NeurIPS 2019, algorithm 1 (SLIDE).
  """
  return _l1_sparse(grad, jnp.sum(grad != 0) // 100)


def _l1_sample(key, mask):
  # exponentials over their sum are uniform on the simplex; one more is the slack
  k_size, k_slack, k_sign = jax.random.split(key, 3)
  parts = jax.random.exponential(k_size, mask.shape) * mask
  total = jnp.sum(parts) + jax.random.exponential(k_slack)
  return parts / total * jax.random.rademacher(k_sign, mask.shape, parts.dtype)


def _l0_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  """argmin_p |d - p|_2 s.t. |p|_0 <= r, low <= p <= high. [...], [] -> [...].

  p_i is d_i, clipped to c_i, or 0; to keep it brings |d|^2 down by c_i (2 d_i - c_i).
  The largest of these stay, the first of equals.
  """
  clipped = jnp.clip(delta, low, high)
  if unlimited(radius):
    return clipped
  # the root's own factors: the product would under- or overflow
  gain = jnp.sqrt(jnp.abs(clipped)) * jnp.sqrt(jnp.abs(2 * delta - clipped))
  count = jnp.floor(radius)
  least = kth_largest(gain, jnp.maximum(count, 1))
  above, tied = gain > least, gain == least
  place = jnp.cumsum(tied.ravel()).reshape(delta.shape)
  kept = above | (tied & (place <= count - jnp.sum(above)))
  return jnp.where(kept, clipped, 0.0)


def _l0_steepest(grad, low=-1.0, high=1.0):
  """The coordinate that gains most on its way to its bound, at its bound."""
  most = jnp.where(grad > 0, high, jnp.where(grad < 0, low, 0.0))
  at = jnp.argmax((most * grad).ravel())
  return jnp.where(jnp.arange(grad.size).reshape(grad.shape) == at, most, 0.0)


def _l0_sample(key, mask):
  # the ball has no volume: one coordinate, uniform in [-1, 1]
  k_at, k_value = jax.random.split(key)
  at = jnp.argmax(jax.random.uniform(k_at, mask.shape, minval=1, maxval=2) * mask)
  chosen = jnp.arange(mask.size).reshape(mask.shape) == at
  return chosen * mask * jax.random.uniform(k_value, minval=-1.0, maxval=1.0)


def _l0_within_l2(radius, mask):
  raise InputError(
    "an SNR in dB says nothing about how many samples change, which is what l0 counts: "
    "give an absolute or a relative radius"
  )


LINF = Norm(
  size=_linf_size,
  project=_linf_project,
  steepest=lambda grad, *bounds: jnp.sign(grad),
  dual=lambda grad, *bounds: _l1_size(grad),
  direction=jnp.sign,
  sample=_linf_sample,
  within_l2=lambda radius, mask: radius / jnp.sqrt(jnp.maximum(jnp.sum(mask), 1.0)),
  # 2: so that most coordinates, not the largest alone, get to the surface
  stride=lambda radius, low, high: 2 * radius * jnp.sqrt(1.0 * jnp.sum(high > low)),
  hyperplane=hyperplane.nearest(lambda t, weight, room: jnp.minimum(t, room)),
)
L2 = Norm(
  _l2_size,
  _l2_project,
  _l2_unit,
  lambda grad, *bounds: _l2_size(grad),
  _l2_unit,
  _l2_sample,
  lambda radius, mask: radius,
  hyperplane=hyperplane.nearest(lambda t, weight, room: jnp.minimum(t * weight, room)),
  remaining=lambda radius, spent: jnp.sqrt(
    jnp.maximum(radius - spent, 0.0) * (radius + spent)
  ),
)
L1 = Norm(
  _l1_size,
  _l1_project,
  _l1_steepest,
  lambda grad, *bounds: _linf_size(grad),
  _l1_direction,
  _l1_sample,
  lambda radius, mask: radius,
  _l1_sparse,
  # what moves the hyperplane most goes to its bound first
  hyperplane.nearest(lambda t, weight, room: jnp.where(t * weight >= 1, room, 0.0)),
  remaining=lambda radius, spent: jnp.maximum(radius - spent, 0.0),
  # twice the geometric mean of a corner's and the inner ball's: the nearest points of
  # longer steps are corners, shorter ones get nowhere
  stride=lambda radius, low, high: (
    radius * jnp.minimum(1.0, 2 * jnp.maximum(1.0 * jnp.sum(high > low), 1.0) ** -0.25)
  ),
)
L0 = Norm(
  size=lambda delta: jnp.sum(delta != 0).astype(jnp.float32),
  project=_l0_project,
  steepest=_l0_steepest,
  dual=lambda grad, *bounds: jnp.vdot(_l0_steepest(grad, *bounds), grad),
  direction=_l0_steepest,
  sample=_l0_sample,
  within_l2=_l0_within_l2,
  stride=lambda radius, low, high: jnp.max(jnp.maximum(-low, high)),
  quantum=1.0,
)

NORMS = {"l0": L0, "l1": L1, "l2": L2, "linf": LINF}
