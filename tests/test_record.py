"""What is stored of an adversarial."""

import io

import numpy as np
import pytest
import soundfile

from jaxadv.data.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ
from jaxadv.models import frontends
from jaxadv.record import snr_of_mean_db, wav_bytes


def test_16_bits_are_rounded_to():
  x = np.array([0.0, 0.99, -0.2, 0.51, -0.51, 3.4]) / 32768
  back = soundfile.read(io.BytesIO(wav_bytes(x, "PCM_16")), dtype="int16")[0]
  np.testing.assert_array_equal(back, [0, 1, 0, 1, -1, 3])


def test_16_bits_saturate():
  ends = np.array([1.0, -1.0, 0.99999])
  back = soundfile.read(io.BytesIO(wav_bytes(ends, "PCM_16")), dtype="int16")[0]
  np.testing.assert_array_equal(back, [32767, -32768, 32767])


def test_float_wav_is_exact():
  x = np.random.default_rng(0).normal(0, 1e-6, 1000).astype(np.float32)
  back, rate_hz = soundfile.read(io.BytesIO(wav_bytes(x, "FLOAT")), dtype="float32")
  np.testing.assert_array_equal(back, x)
  assert rate_hz == SAMPLE_RATE_HZ


def test_the_square_of_the_mean_in_place_of_the_mean_square():
  # P = mean(1, 1, 0, 0) = 1/2; the mean of the noise is 0.02/4, zeros counted too
  x, delta = np.array([1.0, -1.0, 0, 0]), np.array([0.12, -0.1, 0, 0])
  expected = 10 * np.log10(0.5 / 0.005**2)
  assert snr_of_mean_db(x, delta) == pytest.approx(expected)
  # where the noise is constant, the two are one
  flat = np.full(4, -0.05, np.float32)
  assert snr_of_mean_db(x, flat) == pytest.approx(10 * np.log10(0.5 / 0.05**2))
  assert snr_of_mean_db(x, np.array([0.1, -0.1, 0, 0])) == np.inf


def test_both_stages_agree_on_rate_and_chunk():
  """The numpy stage may not import the models; the two must say the same."""
  assert frontends.SAMPLE_RATE_HZ == SAMPLE_RATE_HZ
  assert frontends.CHUNK_SAMPLES == CHUNK_SAMPLES
