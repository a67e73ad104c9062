"""Clips that say where they are: noise, and a chord that starts at once."""

import numpy as np
import scipy.signal

RATE_HZ = 32000


def noise_clip(samples: int, seed: int = 0) -> np.ndarray:
  """Noise below 5 kHz, about -20 dB; every codec keeps it."""
  rng = np.random.default_rng(seed)
  taps = scipy.signal.firwin(201, 5000, fs=RATE_HZ)
  white = 0.2 * rng.standard_normal(samples + 200)
  return np.convolve(white, taps, "valid").astype(np.float32)


def onset_clip(samples: int) -> np.ndarray:
  """Silence, then from a third on a decaying chord, then silence again."""
  t = np.arange(samples - samples // 3) / RATE_HZ
  chord = sum(np.sin(2 * np.pi * f * t + f) for f in (523.25, 1318.5, 3135.9))
  x = np.zeros(samples)
  x[samples // 3 :] = 0.2 * chord * np.exp(-10 * t / t[-1])
  x[-samples // 20 :] = 0
  return x.astype(np.float32)


def lag(y: np.ndarray, x: np.ndarray) -> int:
  """By how many samples y is later than x: the peak of their cross-correlation."""
  peak = np.argmax(scipy.signal.correlate(y, x, method="fft"))
  return int(peak) - (len(x) - 1)


def snr_db(y: np.ndarray, x: np.ndarray) -> float:
  """10 log10(|x|^2 / |y - x|^2), in float64."""
  error = y.astype(np.float64) - x
  return float(10 * np.log10(np.sum(x.astype(np.float64) ** 2) / np.sum(error**2)))


def level_db(x: np.ndarray, low_hz: float, high_hz: float) -> float:
  """Energy of x between two frequencies, in dB."""
  power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
  f = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
  return float(10 * np.log10(power[(f >= low_hz) & (f < high_hz)].sum() + 1e-30))


def frequency_hz(x: np.ndarray) -> float:
  """The strongest frequency of x, by a parabola through the spectrum's peak."""
  spectrum = np.log(np.abs(np.fft.rfft(x * np.hanning(len(x)))) + 1e-12)
  k = int(np.argmax(spectrum))
  a, b, c = spectrum[k - 1 : k + 2]
  return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE_HZ / len(x)
