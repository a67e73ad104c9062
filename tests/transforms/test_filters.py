"""Resampling against resampy, soxr and scipy; filters against their definitions."""

import numpy as np
import pytest
import resampy
import scipy.signal
import soxr
from clips_by_hand import RATE_HZ, level_db, noise_clip, snr_db

from jaxadv.transforms import (
  band_pass,
  low_pass,
  median,
  phone_band,
  resample,
  rng_of,
  smooth,
)

RNG = rng_of(0, 0, "")
WHITE = np.random.default_rng(1).normal(0, 0.1, 32000).astype(np.float32)


def sine(hz, samples=16000):
  return np.sin(2 * np.pi * hz * np.arange(samples) / RATE_HZ).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 20000, 11025])
def test_resampling_keeps_the_band_and_nothing_else(rate_hz):
  y = resample(rate_hz)(WHITE, RNG)
  # -6 dB at 0.948 of the lower Nyquist frequency, the papers' resampy
  edge = 0.9476 * rate_hz / 2
  assert level_db(y, 100, 0.9 * edge) == pytest.approx(
    level_db(WHITE, 100, 0.9 * edge), abs=0.1
  )
  assert level_db(y, 1.08 * edge, 16000) < level_db(WHITE, 1.08 * edge, 16000) - 60
  at_edge = resample(rate_hz)(sine(edge), RNG)[4000:12000]
  # once down, once up: the filter twice
  assert 20 * np.log10(at_edge.std() * 2**0.5) == pytest.approx(-12, abs=0.5)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 20000, 11025])
def test_resampling_against_three_libraries(rate_hz):
  x = noise_clip(31993) if rate_hz > 12000 else low_pass(3000.0)(WHITE, RNG)
  y = resample(rate_hz)(x, RNG)
  by_soxr = soxr.resample(soxr.resample(x, RATE_HZ, rate_hz, "VHQ"), rate_hz, RATE_HZ)
  divisor = np.gcd(RATE_HZ, rate_hz)
  up, down = rate_hz // divisor, RATE_HZ // divisor
  by_scipy = scipy.signal.resample_poly(
    scipy.signal.resample_poly(x.astype(np.float64), up, down), down, up
  )
  today = resampy.resample(resampy.resample(x, RATE_HZ, rate_hz), rate_hz, RATE_HZ)
  for other, agreed_db in ((by_soxr, 60), (by_scipy, 40), (today, 60)):
    middle = slice(2000, len(x) - 2000)
    assert snr_db(y[middle], other[: len(x)][middle]) > agreed_db


@pytest.mark.parametrize("samples", [1, 63, 20000])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 20000, 22000, 11025, 31999])
def test_resampling_is_resampys_with_the_papers_filter(rate_hz, samples):
  """31,999 Hz meets 32 kHz once a second only."""

  def resampled(x, old_hz, new_hz):
    return resampy.resample(
      *(x, old_hz, new_hz),
      filter="sinc_window",
      num_zeros=64,
      precision=13,
      window=lambda n: np.kaiser(n, 14.769656459379492),
      rolloff=0.9475937167399596,
    )

  x = WHITE[:samples]
  period = RATE_HZ // np.gcd(RATE_HZ, rate_hz)
  padded = np.pad(x, (0, -len(x) % period))
  expected = resampled(resampled(padded, RATE_HZ, rate_hz), rate_hz, RATE_HZ)
  y = resample(rate_hz)(x, RNG)
  assert y.dtype == np.float32
  np.testing.assert_allclose(y, expected[:samples], atol=1e-6 * abs(WHITE).max())


def test_resampling_does_not_move_the_clip():
  x = noise_clip(20001)
  y = resample(16000)(x, RNG)
  assert len(y) == len(x) and snr_db(y, x) > 50


@pytest.mark.parametrize(
  "transform, low_hz, high_hz",
  [
    (low_pass(4000.0), 0, 4000),
    (band_pass(1000.0, 6000.0), 1000, 6000),
    (phone_band(), 300, 3400),
  ],
)
def test_band_limits(transform, low_hz, high_hz):
  def gain_db(hz):
    y = transform(sine(hz), RNG)[4000:12000]
    return 20 * np.log10(y.std() * 2**0.5)

  for edge in (low_hz, high_hz):
    if edge:
      assert gain_db(edge) == pytest.approx(-6, abs=0.2)
  inside, outside = (low_hz + 100, high_hz - 100), (low_hz - 100, high_hz + 100)
  assert all(abs(gain_db(hz)) < 0.1 for hz in inside)
  assert all(gain_db(hz) < -45 for hz in outside if hz > 0)
  # aligned: what is in the band stays where it is
  middle = (low_hz + high_hz) / 2
  assert snr_db(transform(sine(middle), RNG)[2000:-2000], sine(middle)[2000:-2000]) > 40


@pytest.mark.parametrize("samples", [1, 300, 1025, 9000])
def test_filters_are_zero_padded_convolutions(samples):
  x = WHITE[:samples]
  taps = scipy.signal.firwin(1025, 5000, fs=RATE_HZ)
  full = scipy.signal.convolve(x.astype(np.float64), taps, method="direct")
  np.testing.assert_allclose(
    low_pass(5000.0)(x, RNG), full[512 : 512 + samples], atol=1e-7
  )


def test_moving_windows():
  x = np.array([5, 1, 1, 10, 1, 1, 2], np.float32)
  np.testing.assert_array_equal(median(3)(x, RNG), [5, 1, 1, 1, 1, 1, 2])
  np.testing.assert_allclose(
    smooth(3)(x, RNG), np.array([11, 7, 12, 12, 12, 4, 5]) / 3, rtol=1e-6
  )
  # inside, the median is scipy.signal's, which has zeros outside
  inside = scipy.signal.medfilt(WHITE, 5)[2:-2]
  np.testing.assert_array_equal(median(5)(WHITE, RNG)[2:-2], inside)
