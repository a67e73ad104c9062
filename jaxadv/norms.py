"""What an attack needs of a norm. The only place that spells out l1, l2 and linf.

All functions act on one perturbation of any shape. None divides by zero: the direction
of a zero gradient is zero.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    the argument; that product is the dual norm.
  sample: key, mask [...] -> [...], uniform in the unit ball of the masked coordinates.
  within_l2: l2 radius [], coordinates [] -> [], the radius of the largest ball of this
    norm inside the l2 ball: what turns an SNR in dB into a radius that guarantees it.
  """

  size: Callable[[Array], Array]
  project: Callable[..., Array]
  steepest: Callable[[Array], Array]
  direction: Callable[[Array], Array]
  sample: Callable[[Array, Array], Array]
  within_l2: Callable[[Array, Array], Array]

  def dual(self, grad: Array) -> Array:
    """max <d, grad> s.t. size(d) <= 1. [...] -> []."""
    return jnp.vdot(self.steepest(grad), grad)


def _l2_size(delta):
  largest = jnp.maximum(jnp.max(jnp.abs(delta)), _TINY)  # squares would under/overflow
  return largest * jnp.sqrt(jnp.sum((delta / largest) ** 2))


def _l2_unit(delta):
  return delta / jnp.maximum(_l2_size(delta), _TINY)


def _l2_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  inside = delta * jnp.minimum(1.0, radius / jnp.maximum(_l2_size(delta), _TINY))
  return jnp.clip(inside, low, high)


def _l2_sample(key, mask):
  k_direction, k_radius = jax.random.split(key)
  direction = _l2_unit(jax.random.normal(k_direction, mask.shape) * mask)
  count = jnp.maximum(jnp.sum(mask), 1.0)
  return direction * jax.random.uniform(k_radius) ** (1 / count)


def _linf_project(delta, radius, low=-jnp.inf, high=jnp.inf):
  return jnp.clip(jnp.clip(delta, -radius, radius), low, high)


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
  between = lower + (upper - lower) * over / jnp.maximum(over + under, _TINY)
  # rounding may leave it a little outside
  outside = jnp.sum(kept(between)) > radius
  shrunk = jnp.where(outside, kept(upper), kept(between))
  return jnp.where(jnp.sum(kept(0.0)) <= radius, kept(0.0), shrunk) * jnp.sign(delta)


def _l1_steepest(grad):
  flat = jnp.abs(grad).ravel()
  at = jnp.argmax(flat)
  return (jnp.zeros_like(flat).at[at].set(1.0)).reshape(grad.shape) * jnp.sign(grad)


def _l1_direction(grad):
  """Equal parts, with its sign, of the 1% of coordinates where the gradient is largest.

  Tramer and Boneh, Adversarial Training and Robustness for Multiple Perturbations,
  NeurIPS 2019, section 4 (SLIDE).
  """
  flat = jnp.abs(grad).ravel()
  least = jax.lax.top_k(flat, max(flat.size // 100, 1))[0][-1]
  chosen = jnp.where(jnp.abs(grad) >= least, jnp.sign(grad), 0.0)
  return chosen / jnp.maximum(_l1_size(chosen), 1.0)


def _l1_sample(key, mask):
  # exponentials over their sum are uniform on the simplex; one more is the slack
  k_size, k_slack, k_sign = jax.random.split(key, 3)
  parts = jax.random.exponential(k_size, mask.shape) * mask
  total = jnp.sum(parts) + jax.random.exponential(k_slack)
  return parts / total * jax.random.rademacher(k_sign, mask.shape, parts.dtype)


LINF = Norm(
  size=lambda delta: jnp.max(jnp.abs(delta)),
  project=_linf_project,
  steepest=jnp.sign,
  direction=jnp.sign,
  sample=_linf_sample,
  within_l2=lambda radius, count: radius / jnp.sqrt(jnp.maximum(count, 1.0)),
)
L2 = Norm(
  _l2_size, _l2_project, _l2_unit, _l2_unit, _l2_sample, lambda radius, count: radius
)
L1 = Norm(
  _l1_size,
  _l1_project,
  _l1_steepest,
  _l1_direction,
  _l1_sample,
  lambda radius, count: radius,
)

NORMS = {"l1": L1, "l2": L2, "linf": LINF}
