"""Noise, gain, bits, shifts, stretch, pitch and silence against their definitions."""

import numpy as np
import pytest
import scipy.stats
from clips_by_hand import frequency_hz, onset_clip, snr_db

from jaxadv.transforms import (
  bit_depth,
  flood,
  gain,
  noise,
  pitch_shift,
  rng_of,
  time_shift,
  time_stretch,
  trim,
)

RNG = rng_of(0, 0, "")


@pytest.mark.parametrize("db", [20.0, 40.0, 60.0, 0.0, -10.0])
def test_noise_has_exactly_its_snr(db):
  x = onset_clip(32000)
  y = noise(db)(x, RNG)
  # float32 sums of x and 60 dB less of noise: 1e-3 dB
  assert snr_db(y, x) == pytest.approx(db, abs=2e-3)


def test_noise_is_white_gaussian():
  x = 0.1 * np.ones(64000, np.float32)
  added = noise(20.0)(x, RNG) - x
  assert scipy.stats.kstest(added / added.std(), "norm").pvalue > 1e-3
  power = np.abs(np.fft.rfft(added)[1:32001].reshape(8, -1)) ** 2
  assert np.ptp(10 * np.log10(power.mean(axis=1))) < 0.6
  assert abs(np.corrcoef(added[1:], added[:-1])[0, 1]) < 0.02


def test_flooding_is_uniform_whatever_the_level():
  for level in (0.0, 0.5):
    x = np.full(64000, level, np.float32)
    added = (flood(0.02)(x, RNG) - x).astype(np.float64)
    assert scipy.stats.kstest(added / 0.02, "uniform", (-1, 2)).pvalue > 1e-3
    assert 0.0199 < np.abs(added).max() <= 0.02 + 1e-7


def test_gain():
  x = onset_clip(1600)
  np.testing.assert_allclose(gain(20.0)(x, RNG), 10 * x, rtol=1e-6)
  np.testing.assert_allclose(gain(-6.0206)(x, RNG), x / 2, rtol=1e-5)
  varied = gain(-3.0, range_db=6.0)
  drawn = [varied(x, rng_of(0, i, ""))[1000] / x[1000] for i in range(400)]
  spread = (20 * np.log10(drawn) + 3) / 6
  assert scipy.stats.kstest(spread, "uniform", (-1, 2)).pvalue > 1e-3


def test_bits():
  x = np.array([-1.2, -1, -0.26, 0.0, 0.24, 0.26, 0.74, 0.99, 1.2], np.float32)
  expected = [-1, -1, -0.5, 0, 0, 0.5, 0.5, 0.5, 0.5]
  np.testing.assert_array_equal(bit_depth(2)(x, RNG), expected)
  clip = onset_clip(8000)
  error = bit_depth(8)(clip, RNG) - clip
  assert np.abs(error).max() <= 0.5 / 128 + 1e-7
  assert len(np.unique(bit_depth(8)(clip, RNG))) <= 256


def test_shift():
  x = onset_clip(6400)
  later, earlier = time_shift(0.01)(x, RNG), time_shift(-0.01)(x, RNG)
  assert np.array_equal(later[320:], x[:-320]) and not later[:320].any()
  assert np.array_equal(earlier[:-320], x[320:]) and not earlier[-320:].any()
  assert not time_shift(9.0)(x, RNG).any() and not time_shift(-9.0)(x, RNG).any()
  varied = time_shift(0.02, range_s=0.01)
  pulse = np.eye(1, 6400, 1000, dtype=np.float32)[0]
  places = {int(np.argmax(varied(pulse, rng_of(0, i, "")))) for i in range(200)}
  assert len(places) > 100 and 1320 <= min(places) < 1350 and 1930 < max(places) <= 1960


def sine(hz, samples=32000):
  t = np.arange(samples) / 32000
  return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_stretch_keeps_the_pitch_and_moves_the_onset(rate):
  y = time_stretch(rate)(sine(1000), RNG)
  sounding = y[4096 : min(32000, int(32000 / rate)) - 4096]
  assert frequency_hz(sounding) == pytest.approx(1000, abs=1)
  assert y[27000:].any() == (rate < 1)

  x = sine(1000)
  x[:16000] = 0
  at = np.flatnonzero(np.abs(time_stretch(rate)(x, RNG)) > 0.1)[0]
  assert at == pytest.approx(16000 / rate, abs=1024)


@pytest.mark.parametrize("semitones", [-5.0, 1.0, 12.0])
def test_pitch_moves_the_frequency_and_not_the_onset(semitones):
  y = pitch_shift(semitones)(sine(1000), RNG)
  expected = 1000 * 2 ** (semitones / 12)
  assert frequency_hz(y[4096:-4096]) == pytest.approx(expected, rel=2e-3)
  x = sine(1000)
  x[:16000] = 0
  at = np.flatnonzero(np.abs(pitch_shift(semitones)(x, RNG)) > 0.1)[0]
  assert at == pytest.approx(16000, abs=1024)


def test_trim_moves_the_sound_to_the_start():
  x = np.zeros(32000, np.float32)
  x[12000:20000] = sine(1000, 8000)
  x[20000:] = 1e-5 * sine(1000, 12000)
  y = trim(60.0)(x, RNG)
  shift = int(np.flatnonzero(x)[0] - np.flatnonzero(y)[0])
  assert 12000 - 2048 <= shift <= 12000
  end = np.flatnonzero(y)[-1] + 1
  assert 8000 <= end <= 8000 + 2 * 2048
  assert np.array_equal(y[:end], x[shift : shift + end])
  # a higher threshold takes the quiet end for sound
  kept = np.flatnonzero(trim(120.0)(x, RNG))[-1]
  assert kept > 19000
