"""Resampling, band limits and smoothing."""

import functools
import math
from functools import partial
from typing import Any, cast

import numpy as np
import scipy.ndimage
import scipy.signal

from jaxadv.errors import InputError
from jaxadv.transforms.transform import (
  NYQUIST_HZ,
  SAMPLE_RATE_HZ,
  Draws,
  Transform,
  no_draws,
  require,
)

ZEROS = 64  # crossings of the resampling filter on each side
# samples of the period of a kernel: that takes no longer to make than it saves; at all
SHORT_PERIOD, LONGEST_PERIOD = 256, 4096
# Hamming: about 3.3 / 32 ms = 103 Hz from pass to stop band, side lobes below -53 dB
FIR_TAPS = 1025


def resample(rate_hz: int = 16000) -> Transform:
  """To a lower rate and back, with the filter that the papers' resampy had.

  P0 used 8, 16 and 20 kHz and resampy's `kaiser_best`, which was another filter then:
  64 zero crossings, Kaiser beta 14.77, cut off at 0.948 of the lower Nyquist frequency.
  Today's resampy has 50, 12.98, 0.917 under that name. Subramanian et al., Robustness
  of Adversarial Attacks in Sound Event Classification, DCASE 2019, section 2.2;
  resampy 0.2.
  """
  expected = f"a rate of 1000 to {SAMPLE_RATE_HZ - 1} Hz"
  require(1000 <= rate_hz < SAMPLE_RATE_HZ, "rate_hz", rate_hz, expected)
  try:
    import resampy  # noqa: F401
  except ImportError as error:
    raise InputError(f"resampy is missing ({error}): pip install resampy") from error
  return Transform(
    f"resample {rate_hz} Hz", no_draws, partial(through_rate, rate_hz=rate_hz)
  )


def through_rate(x: np.ndarray, draws: Draws, rate_hz: int) -> np.ndarray:
  """x at rate_hz and back. [samples] -> [samples]."""
  del draws
  # a whole number of periods has a whole number of samples at the other rate
  period = period_samples(SAMPLE_RATE_HZ, rate_hz)
  padded = np.pad(x, (0, -len(x) % period))
  there = kaiser_resample(padded, SAMPLE_RATE_HZ, rate_hz)
  return kaiser_resample(there, rate_hz, SAMPLE_RATE_HZ)[: len(x)]


def period_samples(rate_hz: int, new_rate_hz: int) -> int:
  """After so many samples of the higher rate both have a sample at the same time."""
  return max(rate_hz, new_rate_hz) // math.gcd(rate_hz, new_rate_hz)


def kaiser_resample(x: np.ndarray, rate_hz: int, new_rate_hz: int) -> np.ndarray:
  """x at another rate, `kaiser_best` of resampy 0.2. [n] -> [n new / old], whole.

  By `resampling_kernel`, many times as fast as resampy; for rates whose kernel is long
  in the making, by resampy itself.
  """
  if period_samples(rate_hz, new_rate_hz) > SHORT_PERIOD:
    return _by_resampy(x, rate_hz, new_rate_hz)
  kernel = resampling_kernel(rate_hz, new_rate_hz)
  blocks, block, _ = kernel.shape
  margin = blocks // 2 * block
  rows = np.pad(x, (margin, margin + -len(x) % block)).reshape(-1, block)
  count = len(rows) - blocks + 1
  parts = (rows[at : at + count] @ one for at, one in enumerate(kernel))
  y = functools.reduce(np.add, parts)
  return y.ravel()[: len(x) * new_rate_hz // rate_hz]


@functools.cache
def resampling_kernel(rate_hz: int, new_rate_hz: int) -> np.ndarray:
  """Resampling as a convolution of blocks: float32 [blocks, samples in, out].

  These are resampy's answers to a pulse at each place of a block, so the filter is
  its own. A block has 32 samples or more: with one period (2 samples, 16 kHz) the
  gradient in JAX took 20 ms for 65,536 samples, so 2 ms; as one channel and a stride
  91 ms (2 CPU cores). InputError where it would be too large.
  """
  if (period := period_samples(rate_hz, new_rate_hz)) > LONGEST_PERIOD:
    raise InputError(
      f"{rate_hz} and {new_rate_hz} Hz have samples at the same time only every "
      f"{period} samples, which leaves resampling without a gradient: give a rounder "
      "rate"
    )
  divisor = math.gcd(rate_hz, new_rate_hz)
  periods = -(-32 * divisor // rate_hz)
  block, out = periods * rate_hz // divisor, periods * new_rate_hz // divisor
  reach = ZEROS * max(1.0, rate_hz / new_rate_hz)
  margin = math.ceil(reach / block) + 1  # in blocks
  pulses = np.zeros((block, 2 * margin + 1, block), np.float32)
  pulses[range(block), margin, range(block)] = 1
  answers = _by_resampy(pulses.reshape(block, -1), rate_hz, new_rate_hz)
  return np.ascontiguousarray(
    answers.reshape(block, 2 * margin + 1, out)[:, ::-1].transpose(1, 0, 2)
  )


def _by_resampy(x, rate_hz, new_rate_hz):
  import resampy

  # resampy's annotation of `filter` is not what it takes
  return resampy.resample(x, rate_hz, new_rate_hz, filter=cast(Any, _kaiser_best))


@functools.cache
def _kaiser_best() -> tuple[np.ndarray, int, float]:
  from resampy.filters import sinc_window

  return sinc_window(
    num_zeros=ZEROS,
    # 9 in resampy 0.2: the same at the papers' rates, 0.2% off in level at 11025 Hz
    precision=13,
    window=partial(np.kaiser, beta=14.769656459379492),
    rolloff=0.9475937167399596,
  )


def low_pass(cutoff_hz: float = 8000.0) -> Transform:
  """Linear-phase FIR low-pass, -6 dB at the cut-off, aligned; zeros outside the clip.

  [samples] -> [samples]. Window method, Hamming, 1025 taps.
  """
  _require_frequency("cutoff_hz", cutoff_hz)
  return _fir(f"low-pass {cutoff_hz:g} Hz", 0.0, cutoff_hz)


def band_pass(low_hz: float = 300.0, high_hz: float = 8000.0) -> Transform:
  """Linear-phase FIR band-pass, -6 dB at both edges; otherwise as `low_pass`."""
  _require_frequency("low_hz", low_hz)
  _require_frequency("high_hz", high_hz)
  require(low_hz < high_hz, "low_hz", low_hz, f"less than high_hz ({high_hz:g})")
  return _fir(f"band-pass {low_hz:g} to {high_hz:g} Hz", low_hz, high_hz)


def phone_band() -> Transform:
  """The band of a telephone, 300 to 3400 Hz (ITU-T G.712); otherwise as `band_pass`."""
  return _fir("phone band", 300.0, 3400.0)


def _require_frequency(name: str, value: float):
  expected = f"more than 0 and less than {NYQUIST_HZ:g} Hz"
  require(0 < value < NYQUIST_HZ, name, value, expected)


def _fir(name: str, low_hz: float, high_hz: float) -> Transform:
  edges = high_hz if low_hz == 0 else (low_hz, high_hz)
  taps = np.asarray(
    scipy.signal.firwin(FIR_TAPS, edges, pass_zero=low_hz == 0, fs=SAMPLE_RATE_HZ),
    np.float32,
  )
  return Transform(name, no_draws, partial(convolve_centred, taps=taps))


def convolve_centred(x: np.ndarray, draws: Draws, taps: np.ndarray) -> np.ndarray:
  """x * taps, the middle tap at lag 0. [samples], [odd] -> [samples]."""
  del draws
  middle = len(taps) // 2
  return scipy.signal.oaconvolve(x, taps)[middle : middle + len(x)]


def smooth(window_samples: int = 5) -> Transform:
  """Moving average; the first and last sample go on beyond the ends.

  Local smoothing of Yang et al., Characterizing Audio Adversarial Examples Using
  Temporal Dependency, ICLR 2019.
  """
  _require_odd(window_samples)
  return Transform(
    f"smooth {window_samples} samples",
    no_draws,
    partial(moving_average, window_samples=window_samples),
  )


def median(window_samples: int = 5) -> Transform:
  """Moving median; the first and last sample go on beyond the ends."""
  _require_odd(window_samples)
  return Transform(
    f"median {window_samples} samples",
    no_draws,
    partial(moving_median, window_samples=window_samples),
  )


def _require_odd(window_samples: int):
  holds = window_samples >= 3 and window_samples % 2 == 1
  require(holds, "window_samples", window_samples, "an odd number of at least 3")


def moving_average(x: np.ndarray, draws: Draws, window_samples: int) -> np.ndarray:
  """Mean over a centred window. [samples] -> [samples]."""
  del draws
  return scipy.ndimage.uniform_filter1d(x, window_samples, mode="nearest")


def moving_median(x: np.ndarray, draws: Draws, window_samples: int) -> np.ndarray:
  """Median over a centred window. [samples] -> [samples]."""
  del draws
  return scipy.ndimage.median_filter(x, window_samples, mode="nearest")
