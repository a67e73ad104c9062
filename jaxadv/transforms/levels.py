"""Noise: at an SNR, or of an amplitude; gain; fewer bits."""

from functools import partial

import numpy as np

from jaxadv.transforms.transform import Draws, Transform, no_draws, require


def draw_normal(rng: np.random.Generator, samples: int) -> Draws:
  """(white Gaussian noise [samples],)."""
  return (rng.standard_normal(samples, np.float32),)


def draw_uniform(rng: np.random.Generator, samples: int) -> Draws:
  """(white noise, uniform in [-1, 1), [samples],)."""
  return (2 * rng.random(samples, np.float32) - 1,)


def noise(snr_db: float = 20.0) -> Transform:
  """White Gaussian noise at exactly this SNR: 10 log10(sum x^2 / sum n^2).

  A silent clip stays as it is. P0 used 20, 40 and 60 dB. Subramanian et al.,
  Robustness of Adversarial Attacks in Sound Event Classification, DCASE 2019, section
  2.2.
  """
  require(abs(snr_db) <= 200, "snr_db", snr_db, "-200 to 200 dB")
  return Transform(
    f"noise {snr_db:g} dB", draw_normal, partial(add_at_snr, snr_db=float(snr_db))
  )


def add_at_snr(x: np.ndarray, draws: Draws, snr_db: float) -> np.ndarray:
  """x + scaled draws[0]. [samples] -> [samples]."""
  return x + scale_to_snr(x, draws[0], snr_db)


def scale_to_snr(x: np.ndarray, added: np.ndarray, snr_db: float) -> np.ndarray:
  """`added`, scaled so that x is snr_db above it. [samples] -> float32 [samples]."""
  signal = np.sum(np.square(x, dtype=np.float64))
  power = np.sum(np.square(added, dtype=np.float64))
  scale = np.sqrt(signal / max(power, 1e-30)) * 10 ** (-snr_db / 20)
  return (scale * added).astype(np.float32)


def flood(amplitude: float = 0.01) -> Transform:
  """Uniform noise within +-amplitude (full scale is 1), whatever the clip's level.

  Rajaratnam, Kalita, Noise Flooding for Detecting Audio Adversarial Examples Against
  Automatic Speech Recognition, ISSPIT 2018; here over the whole band.
  """
  require(0 < amplitude <= 1, "amplitude", amplitude, "more than 0, at most 1")
  return Transform(
    f"flood {amplitude:g}", draw_uniform, partial(add, amplitude=float(amplitude))
  )


def add(x: np.ndarray, draws: Draws, amplitude: float) -> np.ndarray:
  """x + amplitude * draws[0]. [samples] -> [samples]."""
  return x + np.float32(amplitude) * draws[0]


def gain(gain_db: float = -6.0, range_db: float = 0.0) -> Transform:
  """x louder or softer, by a gain that is uniform in gain_db +- range_db."""
  require(abs(gain_db) <= 200, "gain_db", gain_db, "-200 to 200 dB")
  require(0 <= range_db <= 200, "range_db", range_db, "0 to 200 dB")
  spread = f" +- {range_db:g}" if range_db else ""
  return Transform(
    f"gain {gain_db:g}{spread} dB",
    partial(draw_gain, gain_db=float(gain_db), range_db=float(range_db)),
    multiply,
  )


def draw_gain(
  rng: np.random.Generator, samples: int, gain_db: float, range_db: float
) -> Draws:
  """(factor [],)."""
  del samples
  drawn_db = gain_db + range_db * rng.uniform(-1, 1)
  return (np.float32(10 ** (drawn_db / 20)),)


def multiply(x: np.ndarray, draws: Draws) -> np.ndarray:
  """x * draws[0]. [samples] -> [samples]."""
  return x * draws[0]


def bit_depth(bits: int = 8) -> Transform:
  """x rounded to signed integers of so many bits, and back; clipped to their range."""
  require(2 <= bits <= 24, "bits", bits, "2 to 24")
  return Transform(f"{bits} bits", no_draws, partial(quantise, bits=bits))


def quantise(x: np.ndarray, draws: Draws, bits: int) -> np.ndarray:
  """clip(round(x 2^(bits-1)), -2^(bits-1), 2^(bits-1) - 1) / 2^(bits-1)."""
  del draws
  levels = np.float32(2 ** (bits - 1))
  return np.clip(np.rint(x * levels), -levels, levels - 1) / levels
