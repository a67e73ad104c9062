"""Reverberation against a plain convolution, and the hall against its numbers."""

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
from clips_by_hand import lag, noise_clip, onset_clip, snr_db

from jaxadv.errors import InputError
from jaxadv.transforms import great_hall, low_pass, reverberate, rng_of

RNG = rng_of(0, 0, "")
X = noise_clip(24000)


def test_it_is_the_convolution_cut_to_length():
  response = great_hall()
  full = scipy.signal.fftconvolve(X.astype(np.float64), response)[: len(X)]
  plain = reverberate(level="none")(X, RNG)
  assert snr_db(plain, full) > 110
  peak = reverberate()(X, RNG)
  assert np.abs(peak).max() == pytest.approx(0.999, abs=1e-6)
  assert snr_db(peak, full * 0.999 / np.abs(full).max()) > 110
  rms = reverberate(level="rms")(X, RNG)
  assert np.linalg.norm(rms) == pytest.approx(np.linalg.norm(X), rel=1e-6)
  assert snr_db(rms, full * np.linalg.norm(X) / np.linalg.norm(full)) > 110


def test_the_direct_sound_stays_in_place():
  assert lag(reverberate()(X, RNG), X) == 0
  # and nothing comes before it
  x = onset_clip(32000)
  y = reverberate(level="none")(x, RNG)
  np.testing.assert_allclose(y[: 32000 // 3 + 640], x[: 32000 // 3 + 640], atol=1e-6)


def decay_time_s(response):
  """RT60 from -5 to -35 dB of the backward integral. Schroeder, JASA 1965."""
  energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
  db = 10 * np.log10(energy / energy[0])
  fitted = (db < -5) & (db > -35)
  slope, _ = np.polyfit(np.flatnonzero(fitted) / 32000, db[fitted], 1)
  return -60 / slope


@pytest.mark.parametrize("rt60_s", [0.5, 2.0])
def test_the_hall_decays_in_its_time(rt60_s):
  tail = great_hall(rt60_s)[640:]
  low = low_pass(2000.0)(tail, RNG)
  assert decay_time_s(low) == pytest.approx(rt60_s, rel=0.06)
  assert decay_time_s(tail - low_pass(6000.0)(tail, RNG)) < 0.6 * rt60_s


@pytest.mark.parametrize("ratio_db", [-8.0, 5.0])
def test_the_hall_has_its_direct_sound(ratio_db):
  response = great_hall(1.0, ratio_db)
  assert response[0] == 1 and not response[1:640].any()
  ratio = -10 * np.log10(np.sum(response[1:] ** 2, dtype=np.float64))
  assert ratio == pytest.approx(ratio_db, abs=1e-3)


def test_a_file_of_the_users(tmp_path):
  # 5 ms until the direct sound, which is negative; another channel must not matter
  response = np.zeros((9600, 2))
  t = np.arange(9600 - 480) / 96000
  response[480:, 0] = -0.5 * (t == 0) + 0.002 * np.exp(-t / 0.01) * np.sin(5000 * t)
  response[2000:2400, 0] += 0.02 * np.hanning(400)
  response[:, 1] = 0.9
  path = tmp_path / "hall.wav"
  soundfile.write(path, response, 96000, subtype="PCM_24")
  at_rate = soxr.resample(response[:, 0], 96000, 32000, "VHQ")
  full = scipy.signal.fftconvolve(X, at_rate[160:] / at_rate[160])[: len(X)]
  y = reverberate(str(path), level="none")(X, RNG)
  assert snr_db(y, full) > 40 and lag(y, X) == 0


@pytest.mark.parametrize("what", ["text", "silent", "nan", "empty", "folder"])
def test_a_file_that_is_no_response(tmp_path, what):
  path = tmp_path / "hall.wav"
  if what == "text":
    path.write_text("404 not found")
  elif what == "folder":
    path.mkdir()
  else:
    value = {"silent": 0.0, "nan": np.nan, "empty": 0.0}[what]
    x = np.full(0 if what == "empty" else 999, value, np.float32)
    soundfile.write(path, x, 32000, subtype="FLOAT")
  with pytest.raises(InputError, match=r"impulse_response is .*hall\.wav': .*"):
    reverberate(str(path))


def test_live_recording_adds_pink_noise_and_sets_the_peak_again():
  y = reverberate(level="none", pink_noise_db=20.0)(X, RNG)
  dry = reverberate(level="none")(X, RNG)
  assert snr_db(y, dry) == pytest.approx(20, abs=1e-3)
  added = (y - dry).astype(np.float64)
  power = np.abs(np.fft.rfft(added)) ** 2
  octaves = [power[2**k : 2 ** (k + 1)].sum() for k in range(6, 13)]
  assert np.ptp(10 * np.log10(octaves)) < 2  # equal in each octave
  live = reverberate(pink_noise_db=20.0)(X, RNG)
  assert np.abs(live).max() == pytest.approx(0.999, abs=1e-6)
