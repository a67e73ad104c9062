"""Reverberation: a recording played in a hall, or with the user's impulse response."""

from functools import partial
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
import soxr

from jaxadv.errors import InputError
from jaxadv.transforms.levels import draw_normal, scale_to_snr
from jaxadv.transforms.transform import (
  SAMPLE_RATE_HZ,
  Draws,
  Transform,
  no_draws,
  require,
)

PEAK = 0.999  # of the Audio Degradation Toolbox
LEVELS = ("peak", "rms", "none")


def reverberate(
  impulse_response: str = "",
  rt60_s: float = 2.0,
  direct_to_reverberant_db: float = -8.0,
  level: str = "peak",
  pink_noise_db: float = float("inf"),
) -> Transform:
  """The clip in a room: convolved, direct sound in place, the tail cut at the end.

  impulse_response: a sound file (its first channel, resampled to 32 kHz; the direct
    sound is its largest sample), or "": `great_hall(rt60_s, direct_to_reverberant_db)`.
  level: "peak": the largest sample becomes 0.999, as in the Audio Degradation Toolbox;
    "rms": the clip's own RMS; "none": as convolved, direct sound at gain 1.
  pink_noise_db: pink noise at this SNR, and the level set again, as in the toolbox's
    liveRecording; inf: none, as in P0.

  A silent clip stays silent. Subramanian et al., Robustness of Adversarial Attacks in
  Sound Event Classification, DCASE 2019, section 2.2; Mauch, Ewert, The Audio
  Degradation Toolbox and its Application to Robustness Evaluation, ISMIR 2013.
  """
  expected = f"one of {', '.join(LEVELS)}"
  require(level in LEVELS, "level", level, expected)
  require(pink_noise_db >= -200, "pink_noise_db", pink_noise_db, "at least -200 dB")
  response = (
    read_response(impulse_response)
    if impulse_response
    else great_hall(rt60_s, direct_to_reverberant_db)
  )
  noisy = np.isfinite(pink_noise_db)
  return Transform(
    f"reverberate {impulse_response or 'hall'}"
    + (f" + pink noise {pink_noise_db:g} dB" if noisy else ""),
    draw_normal if noisy else no_draws,
    partial(
      convolve_room,
      response=response,
      level=level,
      pink_noise_db=float(pink_noise_db),
    ),
  )


def great_hall(
  rt60_s: float = 2.0, direct_to_reverberant_db: float = -8.0
) -> np.ndarray:
  """A simulated hall's impulse response, float32 [rt60_s * 32000 + gap], direct at 0.

  Gaussian noise under exponential decays: 60 dB in rt60_s, above 4 kHz in half of it
  (air absorbs there), 20 ms after a direct sound of 1. The noise is always the same.
  direct_to_reverberant_db: energy of direct sound to tail; -8 dB is about 6 m away in
  a hall of 3700 m^3 and 2 s. Statistical model of late reverberation: Polack, La
  transmission de l'energie sonore dans les salles, 1988; Moorer, About This
  Reverberation Business, Computer Music Journal 1979.
  """
  require(0.05 <= rt60_s <= 20, "rt60_s", rt60_s, "0.05 to 20 s")
  require(
    abs(direct_to_reverberant_db) <= 60,
    "direct_to_reverberant_db",
    direct_to_reverberant_db,
    "-60 to 60 dB",
  )
  seconds = np.arange(round(rt60_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
  white = np.random.default_rng(0).standard_normal(len(seconds))
  below = scipy.signal.firwin(257, 4000, fs=SAMPLE_RATE_HZ)
  low = scipy.signal.oaconvolve(white, below, mode="same")
  # 10^-3 in amplitude is 60 dB
  slow, fast = 10 ** (-3 * seconds / rt60_s), 10 ** (-6 * seconds / rt60_s)
  tail = low * slow + (white - low) * fast
  tail *= 10 ** (-direct_to_reverberant_db / 20) / np.linalg.norm(tail)
  gap = np.zeros(round(0.02 * SAMPLE_RATE_HZ) - 1)
  return np.concatenate([[1.0], gap, tail]).astype(np.float32)


def read_response(path: str) -> np.ndarray:
  """An impulse response from its direct sound on, which is scaled to 1. float32 [n]."""
  try:
    if not Path(path).is_file():
      raise InputError(f"impulse_response is {path!r}: there is no such file")
    channels, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
  except (soundfile.SoundFileError, OSError, TypeError) as error:
    raise InputError(
      f"impulse_response is {path!r}: libsndfile can't read it, give a WAV or FLAC file"
    ) from error
  response = soxr.resample(channels[:, 0], rate_hz, SAMPLE_RATE_HZ, quality="VHQ")
  if not np.isfinite(response).all() or not response.any():
    raise InputError(
      f"impulse_response is {path!r}: it is empty, silent or not finite, "
      "give a recorded response"
    )
  direct = np.argmax(np.abs(response))
  return response[direct:] / response[direct]


def convolve_room(
  x: np.ndarray, draws: Draws, response: np.ndarray, level: str, pink_noise_db: float
) -> np.ndarray:
  """[samples], [n] -> [samples]."""
  y = scipy.signal.fftconvolve(x, response)[: len(x)].astype(np.float32)
  y = set_level(y, x, level)
  if not draws:
    return y
  y = y + scale_to_snr(y, pink(draws[0]), pink_noise_db)
  return set_level(y, x, level)


def set_level(y: np.ndarray, x: np.ndarray, level: str) -> np.ndarray:
  """y at the level that `reverberate` describes. [samples] -> [samples]."""
  if level == "none":
    return y
  if level == "peak":
    wanted, has = PEAK, np.abs(y).max()
  else:
    wanted, has = np.linalg.norm(x), np.linalg.norm(y)
  return y * np.float32(wanted / has) if has > 0 else y


def pink(white: np.ndarray) -> np.ndarray:
  """White noise with power falling as 1 / f and no mean. [samples] -> [samples]."""
  spectrum = np.fft.rfft(white)
  return np.fft.irfft(spectrum * pink_gain(len(white)), len(white))


def pink_gain(samples: int) -> np.ndarray:
  """1 / sqrt(k) of each bin of an rfft, 0 at k = 0. float64 [samples // 2 + 1]."""
  bins = np.arange(samples // 2 + 1)
  return np.where(bins > 0, 1 / np.sqrt(np.maximum(bins, 1)), 0.0)
