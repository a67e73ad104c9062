"""Frontends against librosa and a float64 restatement, down to the samples."""

import functools

import by_hand
import jax
import numpy as np
import pytest

from jaxadv.models import FRONTENDS, WAVEFORMS
from jaxadv.models.frontends import CHUNK_SAMPLES, mel_filters

BY_HAND = {
  "log_mel_attack": by_hand.log_mel_attack,
  "log_mel_train": by_hand.log_mel_train,
  "kapre_mel": by_hand.kapre_mel,
}
# dB below the loudest cell, from which on float32's rounding shows: 10 log10 of the
# power, but 5 log10 for kapre
HEARD_DB = {"log_mel_attack": -70, "log_mel_train": -70, "kapre_mel": -50}
spectrograms = pytest.mark.parametrize("name", BY_HAND)


@functools.cache
def jitted(name):
  """The frontend, and the gradient of its features' inner product with `weights`."""
  frontend = FRONTENDS[name]
  grad = jax.grad(lambda x, weights: (weights * frontend(x)).sum())
  return jax.jit(frontend), jax.jit(grad)


def clip(samples: int, chunks: int) -> np.ndarray:
  """A falling chirp in noise that dies away, zero after `samples`."""
  rng = np.random.default_rng(samples)
  time_s = np.arange(samples) / 32000
  x = 0.4 * np.sin(2 * np.pi * (9000 - 1500 * time_s) * time_s)
  x += 0.1 * rng.normal(size=samples) * np.exp(-3 * time_s)
  return np.pad(x, (0, chunks * CHUNK_SAMPLES - samples)).astype(np.float32)


def silent_but(at: int | slice, value: float) -> np.ndarray:
  x = np.zeros(CHUNK_SAMPLES, np.float32)
  x[at] = value
  return x


EXTREMES = {
  "silence": silent_but(0, 0),
  "half silent": np.where(
    np.arange(CHUNK_SAMPLES) < 30000,
    np.random.default_rng(0).uniform(-0.5, 0.5, CHUNK_SAMPLES),
    0,
  ).astype(np.float32),
  "impulse": silent_but(30000, 1),
  "first sample": silent_but(0, -1),
  "last sample": silent_but(-1, 1e-3),
  "constant": silent_but(slice(None), 1),
  "square wave": np.where(np.arange(CHUNK_SAMPLES) // 50 % 2, 1, -1).astype(np.float32),
}


def test_every_frontend_is_tested_here():
  assert {*BY_HAND, *WAVEFORMS} == set(FRONTENDS)


def test_mel_filters_are_librosas():
  np.testing.assert_allclose(mel_filters().T, by_hand.mel_filters(), rtol=1e-5)


@spectrograms
@pytest.mark.parametrize(
  "samples, chunks", [(CHUNK_SAMPLES, 1), (20000, 1), (2 * CHUNK_SAMPLES - 777, 2)]
)
def test_values(name, samples, chunks):
  x = clip(samples, chunks)
  found, expected = jitted(name)[0](x), BY_HAND[name](x)
  assert found.shape == expected.shape
  assert found.size == 64 * len(x) // (128 if name == "kapre_mel" else 512)
  # float32: the quietest cells, 1e-10 of the loudest, carry its rounding
  heard = expected > HEARD_DB[name]
  assert heard.mean() > 0.2
  np.testing.assert_allclose(found[heard], expected[heard], atol=0.01)
  np.testing.assert_allclose(found, expected, atol=0.5)


@spectrograms
@pytest.mark.parametrize("extreme", EXTREMES)
def test_features_and_gradients_are_finite(name, extreme):
  frontend, grad = jitted(name)
  x = EXTREMES[extreme]
  features = frontend(x)
  weights = np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
  gradient = np.asarray(grad(x, weights))
  assert np.isfinite(features).all() and np.isfinite(gradient).all()
  assert features.max() <= 0
  # the window starts with a 0, and nothing lies before the first frame of an attack
  unheard = extreme == "first sample" and name == "log_mel_attack"
  assert gradient.any() == (extreme != "silence" and not unheard)


@spectrograms
def test_gradient_against_finite_differences(name):
  x = clip(CHUNK_SAMPLES, 1)
  rng = np.random.default_rng(2)
  weights = rng.normal(size=BY_HAND[name](x).shape).astype(np.float32)
  gradient = np.float64(jitted(name)[1](x, weights))

  def value(x):
    return np.vdot(weights, BY_HAND[name](x))

  for region in (slice(None), slice(0, 600), slice(-600, None)):
    direction = np.zeros(len(x))
    direction[region] = rng.normal(size=len(direction[region]))
    h = 1e-7
    slope = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    size = np.linalg.norm(gradient[region]) * np.linalg.norm(direction)
    assert abs(np.vdot(gradient, direction) - slope) < 2e-3 * size
    assert abs(slope) > 2e-2 * size / np.sqrt(len(direction[region]))


def test_waveforms():
  x = clip(20000, 1)
  np.testing.assert_array_equal(FRONTENDS["waveform"](x), x[None])
  loudest = np.abs(x).max()
  assert loudest < 0.9
  for gain in (1, 1e-4, 1e-15):
    found = FRONTENDS["waveform_peak"](gain * x)
    np.testing.assert_allclose(found, x[None] / loudest, rtol=1e-5)
  silence = EXTREMES["silence"]
  assert not FRONTENDS["waveform_peak"](silence).any()
  weights = np.ones((1, CHUNK_SAMPLES), np.float32)
  for name in WAVEFORMS:
    for quiet in (silence, np.float32(1e-15) * x, np.float32(1e-30) * x):
      assert np.isfinite(jitted(name)[1](quiet, weights)).all()
