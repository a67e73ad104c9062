"""The twin of trimming against librosa, and its gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clips_by_hand import noise_clip

from jaxadv.transforms import trim
from jaxadv.transforms.twins import twin

PADDED = 12000


@functools.cache
def compiled():
  """x, length, weights -> gradient of <weights, y>, y."""
  apply = twin(trim(40.0)).apply

  def value(x, length, weights):
    y = apply(x, (), length)
    return jnp.vdot(weights, y), y

  return jax.jit(jax.grad(value, has_aux=True))


def clip(length, silent_at_start, silent_at_end):
  """Noise, 60 dB lower at the ends, which 40 dB cut off."""
  at = np.arange(length)
  loud = (at >= silent_at_start) & (at < length - silent_at_end)
  return (noise_clip(length) * np.where(loud, 1, 1e-3)).astype(np.float32)


@pytest.mark.parametrize("length", [PADDED, 9001, 5120])
@pytest.mark.parametrize("ends", [(0, 0), (2500, 0), (0, 2500), (1700, 1300)])
def test_it_is_librosas_and_its_gradient_goes_where_the_samples_came_from(length, ends):
  quiet = clip(length, *ends)
  x = np.pad(quiet, (0, PADDED - length))
  weights = np.random.default_rng(0).normal(size=PADDED).astype(np.float32)
  slope, y = compiled()(x, jnp.int32(length), weights)
  expected = np.pad(trim(40.0).apply(quiet, ()), (0, PADDED - length))
  np.testing.assert_array_equal(y, expected)
  kept = np.flatnonzero(slope)
  assert len(kept) == np.count_nonzero(expected)
  np.testing.assert_array_equal(slope[kept], weights[: len(kept)])
  np.testing.assert_array_equal(x[kept], expected[: len(kept)])
  assert (len(kept) < length) == (sum(ends) > 0)


def test_silence_is_kept_and_its_gradient_is_finite():
  silence = np.zeros(PADDED, np.float32)
  slope, y = compiled()(silence, jnp.int32(9001), silence + 1)
  np.testing.assert_array_equal(y, 0)
  assert np.isfinite(slope).all() and slope.sum() == 9001
