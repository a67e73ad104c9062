"""The one treatment that every bundled clip gets, and the search for duplicates."""

import itertools

import numpy as np
import soxr
from scipy.signal import butter, sosfilt

RATE = 32000  # Hz
PEAK = 10 ** (-3 / 20)  # full scale is 1
TRIM = 10 ** (-48 / 20)  # relative to the clip's own peak
SHORTEST = round(0.3 * RATE)  # samples
LEAD = round(0.004 * RATE)  # kept before the first loud sample: the attack's foot
FADE_IN = round(0.002 * RATE)
FADE_OUT = round(0.020 * RATE)
HIGH_PASS = butter(2, 15.0, "highpass", fs=RATE, output="sos")  # takes DC away


def condition(samples: np.ndarray, rate: int, longest: float) -> np.ndarray:
  """Bring one recording to the bundle's form.

  Args:
    samples: float64 (n,), one channel.
    rate: sampling rate in hertz.
    longest: where to cut, in seconds after the start of the sound.

  Returns:
    int16 (m,) at RATE, its peak at -3 dB of full scale.
  """
  if rate != RATE:
    samples = soxr.resample(samples, rate, RATE, quality="VHQ")
  samples = np.asarray(sosfilt(HIGH_PASS, samples))
  loud = np.flatnonzero(np.abs(samples) >= TRIM * np.abs(samples).max())
  first = max(0, loud[0] - LEAD)
  last = min(loud[-1] + FADE_OUT, first + round(longest * RATE))
  clip = samples[first:last].copy()
  clip[:FADE_IN] *= np.linspace(0, 1, FADE_IN)
  clip[-FADE_OUT:] *= np.cos(np.linspace(0, np.pi / 2, FADE_OUT)) ** 2
  # A short hit has died away by now; silence makes it as long as the shortest clip.
  clip = np.pad(clip, (0, max(0, SHORTEST - len(clip))))
  return np.round(clip * (PEAK / np.abs(clip).max()) * 32767).astype(np.int16)


def _spectrum(clip: np.ndarray) -> np.ndarray:
  """Return the spectrum, complex (16385,), of a clip's first second at unit energy."""
  start = clip[:RATE:2].astype(np.float64)  # aliasing does no harm to a comparison
  start = np.pad(start, (0, RATE // 2 - len(start)))
  return np.fft.rfft(start / np.linalg.norm(start), 32768)


def duplicates(clips: list[np.ndarray], threshold: float = 0.95) -> list[tuple]:
  """Return (i, j, correlation) of pairs whose best-aligned correlation is too high.

  Args:
    clips: int16 (m,) each.
    threshold: normalised cross-correlation, 0 to 1, of the clips' first seconds.
  """
  spectra = [_spectrum(clip) for clip in clips]
  found = []
  for i, j in itertools.combinations(range(len(clips)), 2):
    best = np.abs(np.fft.irfft(spectra[i] * spectra[j].conj())).max()
    if best > threshold:
      found.append((i, j, float(best)))
  return found
