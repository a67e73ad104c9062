"""Norms of norms: budgets per frame, and inside a band."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.errors import InputError
from jaxadv.norms import Norm

_TINY = 1e-30


def framewise(norm: Norm, frame: int) -> Norm:
  """The largest `norm` among frames of `frame` consecutive values of a perturbation.

  Rows of features [T, M] with frame = M; stretches of a waveform. The perturbation's
  number of values must be a multiple of `frame`. Each frame may fill the radius, as in
  the code of Li et al., Audio-visual event recognition through the lens of adversary,
  ICASSP 2021 (0.1 a frame; the paper does not say of what its budget is).
  """

  def frames(values):
    if values.size % frame:
      raise InputError(
        f"a perturbation of {values.size} values has no whole number of frames of "
        f"{frame}: pad it, or take another frame"
      )
    return values.reshape(-1, frame)

  def each(function):
    return lambda values: jax.vmap(function)(frames(values)).reshape(values.shape)

  def project(delta, radius, low=-jnp.inf, high=jnp.inf):
    bounds = [frames(jnp.broadcast_to(bound, delta.shape)) for bound in (low, high)]
    one = jax.vmap(norm.project, (0, None, 0, 0))
    return one(frames(delta), radius, *bounds).reshape(delta.shape)

  def sample(key, mask):
    keys = jax.random.split(key, len(frames(mask)))
    return jax.vmap(norm.sample)(keys, frames(mask)).reshape(mask.shape)

  def stride(radius, low, high):
    strides = jax.vmap(norm.stride, (None, 0, 0))(radius, frames(low), frames(high))
    return jnp.sqrt(jnp.sum(strides**2))

  def within_l2(radius, mask):
    # a frame with its radius filled has 1 / each of that in l2
    each = jax.vmap(norm.within_l2, (None, 0))(jnp.float32(1.0), frames(mask))
    each = jnp.broadcast_to(each, len(frames(mask)))
    filled = jnp.any(frames(mask) != 0, 1)
    return radius / jnp.sqrt(jnp.maximum(jnp.sum(filled / each**2), 1.0))

  return norm._replace(
    size=lambda delta: jnp.max(jax.vmap(norm.size)(frames(delta))),
    project=project,
    direction=each(norm.direction),
    steepest=each(norm.steepest),
    dual=lambda grad, *bounds: jnp.sum(jax.vmap(norm.dual)(frames(grad))),
    sample=sample,
    stride=stride,
    sparse=None,
    hyperplane=None,
    remaining=None,
    within_l2=within_l2,
  )


def in_band(count: int, low_hz: float, high_hz: float, rate_hz: float) -> np.ndarray:
  """Which frequencies of `count` real samples are in a band. bool [count // 2 + 1].

  InputError where none is.
  """
  scaled_hz = np.arange(count // 2 + 1) * rate_hz  # times count: exact on the edges
  inside = (scaled_hz >= low_hz * count) & (scaled_hz <= high_hz * count)
  if not inside.any():
    raise InputError(
      f"the band {low_hz} to {high_hz} Hz holds none of the frequencies of {count} "
      f"samples, {rate_hz / count:.3g} Hz apart: give a wider one"
    )
  return inside


def band_limited(norm: Norm, low_hz: float, high_hz: float, rate_hz: float) -> Norm:
  """`norm`, of perturbations along the last axis with nothing outside a band.

  What a mask over frequency is for waveforms: perturbations go through the ideal filter
  of low_hz <= f <= high_hz and are scaled into the ball where that made them larger. In
  l2 projection, direction and dual stay exact; elsewhere the dual is the inner product
  that `steepest` has. A box that cuts the clip off afterwards adds
  what it cuts.
  """
  if not 0 <= low_hz < high_hz <= rate_hz / 2:
    raise InputError(
      f"the band {low_hz} to {high_hz} Hz is empty or beyond {rate_hz / 2} Hz: give "
      "0 <= low_hz < high_hz <= rate_hz / 2"
    )

  def keep(delta):
    count = delta.shape[-1]
    inside = in_band(count, low_hz, high_hz, rate_hz)
    return jnp.fft.irfft(jnp.fft.rfft(delta) * inside, count)

  def scaled(delta, radius):
    size = norm.size(delta)
    return delta * jnp.where(size > radius, radius / jnp.maximum(size, _TINY), 1.0)

  def unit(delta):
    return delta / jnp.maximum(norm.size(delta), _TINY)

  def project(delta, radius, low=-jnp.inf, high=jnp.inf):
    return jnp.clip(scaled(keep(norm.project(delta, radius)), radius), low, high)

  def sample(key, mask):
    return scaled(keep(norm.sample(key, mask)), 1.0)

  def steepest(grad, *bounds):
    return unit(keep(norm.steepest(keep(grad))))

  return norm._replace(
    project=project,
    direction=lambda grad: unit(keep(norm.direction(keep(grad)))),
    steepest=steepest,
    dual=lambda grad, *bounds: jnp.vdot(steepest(grad), grad),
    sample=sample,
    sparse=None,
    hyperplane=None,
    remaining=None,
  )
