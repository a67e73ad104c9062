"""Shift, stretch and pitch; silence cut out. The array keeps its length."""

from functools import partial

import numpy as np

from jaxadv.transforms.transform import (
  SAMPLE_RATE_HZ,
  Draws,
  Transform,
  no_draws,
  require,
)

TRIM_FRAME, TRIM_HOP = 2048, 512  # samples
TRIM_FLOOR = 1e-5  # RMS below which all frames are equally silent


def time_shift(shift_s: float = 0.1, range_s: float = 0.0) -> Transform:
  """Later (shift_s > 0) or earlier, uniform in shift_s +- range_s, in whole samples.

  Zeros come in; what leaves the clip is lost.
  """
  require(abs(shift_s) <= 3600, "shift_s", shift_s, "at most an hour")
  require(0 <= range_s <= 3600, "range_s", range_s, "0 s to an hour")
  spread = f" +- {range_s:g}" if range_s else ""
  return Transform(
    f"shift {shift_s:g}{spread} s",
    partial(draw_shift, shift_s=float(shift_s), range_s=float(range_s)),
    delay,
  )


def draw_shift(
  rng: np.random.Generator, samples: int, shift_s: float, range_s: float
) -> Draws:
  """(samples of delay, int32 [], at most as many as there are,)."""
  drawn = (shift_s + range_s * rng.uniform(-1, 1)) * SAMPLE_RATE_HZ
  return (np.int32(np.clip(np.rint(drawn), -samples, samples)),)


def delay(x: np.ndarray, draws: Draws) -> np.ndarray:
  """x[i - draws[0]], zeros outside. [samples] -> [samples]."""
  shift = int(draws[0])
  if shift < 0:
    return np.pad(x[-shift:], (0, -shift))
  return np.pad(x[: len(x) - shift], (shift, 0))


def time_stretch(rate: float = 1.1) -> Transform:
  """Faster (rate > 1) or slower at the same pitch: librosa's phase vocoder.

  A faster clip ends in zeros, a slower one is cut off.
  """
  require(0.25 <= rate <= 4, "rate", rate, "0.25 to 4")
  return Transform(f"stretch {rate:g}", no_draws, partial(stretch, rate=float(rate)))


def stretch(x: np.ndarray, draws: Draws, rate: float) -> np.ndarray:
  """x(rate * t). [samples] -> [samples]."""
  del draws
  import librosa

  y = librosa.effects.time_stretch(x, rate=rate, n_fft=fft_samples(x))
  return librosa.util.fix_length(y, size=len(x))


def pitch_shift(semitones: float = 1.0) -> Transform:
  """Higher or lower at the same speed: librosa's phase vocoder, then soxr HQ."""
  require(abs(semitones) <= 24, "semitones", semitones, "-24 to 24")
  return Transform(
    f"pitch {semitones:+g} semitones",
    no_draws,
    partial(shift_pitch, semitones=float(semitones)),
  )


def shift_pitch(x: np.ndarray, draws: Draws, semitones: float) -> np.ndarray:
  """x with all frequencies times 2^(semitones / 12). [samples] -> [samples]."""
  del draws
  import librosa

  return librosa.effects.pitch_shift(
    x, sr=SAMPLE_RATE_HZ, n_steps=semitones, n_fft=fft_samples(x)
  )


def fft_samples(x) -> int:
  """Samples of a frame: librosa's default, fewer for clips that don't fill it."""
  return min(2048, 1 << max(4, len(x).bit_length() - 1))


def trim(below_peak_db: float = 60.0) -> Transform:
  """Silence at both ends cut away: the clip moves to the start, zeros follow.

  Silent: frames (2048 samples, hop 512) whose RMS is this far below the loudest one's;
  RMS below 1e-5 counts as 1e-5, so a clip that is silent throughout is kept.
  """
  require(0 < below_peak_db <= 200, "below_peak_db", below_peak_db, "0 to 200 dB")
  return Transform(
    f"trim {below_peak_db:g} dB",
    no_draws,
    partial(cut_silence, below_peak_db=float(below_peak_db)),
  )


def cut_silence(x: np.ndarray, draws: Draws, below_peak_db: float) -> np.ndarray:
  """x without its silent ends, then zeros. [samples] -> [samples]."""
  del draws
  import librosa

  kept, _ = librosa.effects.trim(
    x, top_db=below_peak_db, frame_length=TRIM_FRAME, hop_length=TRIM_HOP
  )
  return librosa.util.fix_length(kept, size=len(x))
