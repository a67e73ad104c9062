"""The smallest step onto a hyperplane that stays in a box, in any norm."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array


def nearest(grow: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
  """normal [...], offset [], low [...], high [...] -> delta [...], `Norm.hyperplane`.

  argmin size(delta) s.t. <normal, delta> = offset, low <= delta <= high, where
  low <= 0 <= high, all finite. Where no such delta exists, the one whose inner product
  comes nearest to the offset.
  grow: multiplier [], |normal| [...], room [...] -> |delta| [...], the smallest size
    for its inner product, which rises with the multiplier.
  No coordinate goes against its part of the normal, so room is the bound on that side.
  The multiplier is bisected by its exponent to a factor 1.0007; the point between the
  two ends has exactly the inner product that is asked for.
  Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary
  Attack, ICML 2020, section 2.2, where the norms' cases are solved by sorting.
  """

  def delta(normal, offset, low, high):
    weight, sign = jnp.abs(normal), jnp.sign(normal) * jnp.where(offset < 0, -1, 1)
    room = jnp.where(sign > 0, high, -low) * (weight > 0)
    goal = jnp.abs(offset)

    def at(exponent):
      return grow(jnp.exp2(exponent), weight, room)

    def attained(magnitude):
      return jnp.sum(weight * magnitude)

    def halve(_, ends):
      lower, upper = ends
      middle = (lower + upper) / 2
      short = attained(at(middle)) <= goal
      return jnp.where(short, middle, lower), jnp.where(short, upper, middle)

    ends = (jnp.float32(-126), jnp.float32(126))
    lower, upper = (at(end) for end in jax.lax.fori_loop(0, 18, halve, ends))
    rise = attained(upper) - attained(lower)
    share = (goal - attained(lower)) / jnp.where(rise > 0, rise, 1.0)
    between = lower + jnp.clip(share, 0.0, 1.0) * (upper - lower)
    return sign * jnp.where(attained(room) <= goal, room, between)

  return delta
