"""The twins of time stretching and pitch shifting against librosa."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clips_by_hand import noise_clip, onset_clip

from jaxadv.transforms import pitch_shift, time_stretch
from jaxadv.transforms.twins import twin

PADDED = 12000


CASES = {
  "slower": time_stretch(0.8),
  "faster": time_stretch(1.1),
  "higher": pitch_shift(1.0),
  "lower": pitch_shift(-5.0),
}


@functools.cache
def compiled(name):
  """x [PADDED], length -> the twin's answer; x, length, weights -> its gradient."""
  apply = twin(CASES[name]).apply
  heard = jax.jit(lambda x, length: apply(x, (), length))
  pulled = jax.jit(jax.grad(lambda x, length, w: jnp.vdot(w, apply(x, (), length))))
  return heard, pulled


def tones(samples):
  at = np.arange(samples) / 32000
  tone = sum(np.sin(2 * np.pi * hz * at) / hz for hz in (440, 1000, 5000))
  return (50 * tone * np.exp(-10 * at)).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("length", [PADDED, 9001, 4096])
def test_it_is_librosas_whatever_padding_follows(name, length):
  """To 0.5%: librosa adds up phases of thousands of radians in float32."""
  heard, _ = compiled(name)
  for clip in (noise_clip(length), onset_clip(length), tones(length)):
    x = np.pad(clip, (0, PADDED - length))
    y = np.asarray(heard(x, jnp.int32(length)))
    expected = CASES[name].apply(clip, ())
    assert y.shape == x.shape and y.dtype == np.float32
    error = np.linalg.norm(y[:length] - expected)
    assert error < 5e-3 * np.linalg.norm(expected)
    np.testing.assert_array_equal(y[length:], 0)
    assert np.linalg.norm(expected - clip) > 0.03 * np.linalg.norm(clip)


@pytest.mark.parametrize("name", ["faster", "higher"])
def test_its_gradient_is_that_of_a_linear_map_with_its_value(name):
  """With the turns of the bins as constants, y = J x: so <w, y> = <J^T w, x>."""
  heard, pulled = compiled(name)
  x = noise_clip(PADDED)
  w = np.random.default_rng(0).normal(size=PADDED).astype(np.float32)
  slope = np.float64(pulled(x, jnp.int32(PADDED), w))
  value = np.vdot(w.astype(np.float64), heard(x, jnp.int32(PADDED)))
  assert np.vdot(slope, x) == pytest.approx(value, rel=1e-3)
  # and where nothing sounds it is finite
  assert np.isfinite(pulled(0 * x, jnp.int32(PADDED), w)).all()
