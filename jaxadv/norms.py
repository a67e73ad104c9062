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
  project: [...], [] -> [...], the nearest point of the ball (l2 distance).
  steepest: [...] -> [...], the direction of size 1 with the largest inner product with
    the argument; that product is the dual norm.
  sample: key, mask [...] -> [...], uniform in the unit ball of the masked coordinates.
  within_l2: l2 radius [], coordinates [] -> [], the radius of the largest ball of this
    norm inside the l2 ball: what turns an SNR in dB into a radius that guarantees it.
  """

  size: Callable[[Array], Array]
  project: Callable[[Array, Array], Array]
  steepest: Callable[[Array], Array]
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


def _l2_project(delta, radius):
  return delta * jnp.minimum(1.0, radius / jnp.maximum(_l2_size(delta), _TINY))


def _l2_sample(key, mask):
  k_direction, k_radius = jax.random.split(key)
  direction = _l2_unit(jax.random.normal(k_direction, mask.shape) * mask)
  count = jnp.maximum(jnp.sum(mask), 1.0)
  return direction * jax.random.uniform(k_radius) ** (1 / count)


def _linf_sample(key, mask):
  return jax.random.uniform(key, mask.shape, minval=-1.0, maxval=1.0) * mask


def _l1_size(delta):
  return jnp.sum(jnp.abs(delta))


def _l1_project(delta, radius):
  """argmin_p |d - p|_2 s.t. |p|_1 <= r. [...], [] -> [...].

  Duchi et al., Efficient Projections onto the l1-Ball, ICML 2008, fig. 1.
  """
  magnitude = jnp.abs(delta).ravel()
  ordered = jnp.sort(magnitude, descending=True)
  excess = jnp.cumsum(ordered) - jnp.where(jnp.isfinite(radius), radius, 0.0)
  rank = jnp.arange(1, ordered.size + 1)
  last = jnp.sum(ordered * rank > excess) - 1
  threshold = jnp.maximum(excess[last] / (last + 1), 0.0)
  shrunk = jnp.sign(delta) * jnp.maximum(jnp.abs(delta) - threshold, 0.0)
  return jnp.where(_l1_size(delta) <= radius, delta, shrunk)


def _l1_steepest(grad):
  flat = jnp.abs(grad).ravel()
  at = jnp.argmax(flat)
  return (jnp.zeros_like(flat).at[at].set(1.0)).reshape(grad.shape) * jnp.sign(grad)


def _l1_sample(key, mask):
  # exponentials over their sum are uniform on the simplex; one more is the slack
  k_size, k_slack, k_sign = jax.random.split(key, 3)
  parts = jax.random.exponential(k_size, mask.shape) * mask
  total = jnp.sum(parts) + jax.random.exponential(k_slack)
  return parts / total * jax.random.rademacher(k_sign, mask.shape, parts.dtype)


LINF = Norm(
  size=lambda delta: jnp.max(jnp.abs(delta)),
  project=lambda delta, radius: jnp.clip(delta, -radius, radius),
  steepest=jnp.sign,
  sample=_linf_sample,
  within_l2=lambda radius, count: radius / jnp.sqrt(jnp.maximum(count, 1.0)),
)
L2 = Norm(_l2_size, _l2_project, _l2_unit, _l2_sample, lambda radius, count: radius)
L1 = Norm(_l1_size, _l1_project, _l1_steepest, _l1_sample, lambda radius, count: radius)

NORMS = {"l1": L1, "l2": L2, "linf": LINF}
