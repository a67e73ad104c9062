"""The twins of time stretching and pitch shifting: librosa's phase vocoder in JAX."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.signal
import scipy.special

from jaxadv.transforms.timing import fft_samples

_OVERLAP = 4  # frames over each sample
# soxr HQ's low-pass, measured: a sinc of this share of the lower Nyquist frequency in a
# Kaiser window of so many of its sample periods to either side; to 0.3% of its norm
_PASSED, _PERIODS, _BETA = 0.9575, 95, 12
_DEGREE = 8  # of the polynomials between two samples: to 1e-6
_TINY = float(np.finfo(np.float32).tiny)


def stretch(x, draws, length, rate):
  """x(rate * t), as `timing.stretch` has it; of a clip that ends at `length`.

  Each bin of a stretched frame has the mean magnitude of two frames, at a phase that
  all frames before it sum up to. The gradient takes how far each bin was turned as a
  constant: then the map is linear, while the derivative of a sum of phases explodes in
  bins that hold next to nothing. Clips shorter than a frame (2048 samples) inside a
  longer array are heard in frames of the array's. x float32 [samples] -> [samples].
  """
  del draws
  return _fixed(_stretched(x, length, rate), len(x))


def shift_pitch(x, draws, length, semitones):
  """x with all frequencies times 2^(semitones / 12), as `timing.shift_pitch` has it.

  Stretched, then resampled to the length it had. x float32 [samples] -> [samples].
  """
  del draws
  rate = 2.0 ** (-semitones / 12)
  return _fixed(_resampled(_stretched(x, length, rate), rate), len(x))


def _fixed(y, samples):
  return jnp.pad(y, (0, max(0, samples - len(y))))[:samples]


def _stretched(x, length, rate):
  """[samples] -> [samples / rate], 0 from length / rate on."""
  frame = fft_samples(x)
  hop = frame // _OVERLAP
  window = np.asarray(scipy.signal.get_window("hann", frame), np.float32)
  spectra = _spectra(x, length, window, hop)
  steps = np.arange(0, len(spectra) - 2, rate)
  share = np.asarray(steps % 1, np.float32)[:, None]
  here, after = spectra[steps.astype(int)], spectra[steps.astype(int) + 1]
  turns = _phase(after) * jnp.conj(_phase(here))
  turned = jnp.cumprod(jnp.concatenate([_phase(spectra[:1]), turns[:-1]]), axis=0)
  turned = _phase(turned)  # rounding

  def towards(bins):
    return jax.lax.stop_gradient(turned * jnp.conj(_phase(bins))) * bins

  stretched = (1 - share) * towards(here) + share * towards(after)
  samples = jnp.int32(jnp.round(length / rate))
  frames = -(-(samples + frame) // hop)
  kept = (steps < 1 + length // hop) & (np.arange(len(steps)) < frames)
  sounds = jnp.fft.irfft(stretched, frame) * (kept[:, None] * window)
  y = _overlapped(sounds, hop)[frame // 2 :]
  weight = _overlapped(kept[:, None] * window**2, hop)[frame // 2 :]
  y = jnp.where(weight > _TINY, y / jnp.where(weight > _TINY, weight, 1), y)
  y = _fixed(y, round(len(x) / rate))
  return jnp.where(jnp.arange(len(y)) < samples, y, 0)


def _spectra(x, length, window, hop):
  """Of frames around every hop-th sample of the clip, and of two of silence behind."""
  count = 1 + len(x) // hop
  blocks = jnp.pad(x, (len(window) // 2, len(window)))[: (count + _OVERLAP - 1) * hop]
  blocks = blocks.reshape(-1, hop)
  framed = [blocks[first : first + count] for first in range(_OVERLAP)]
  spectra = jnp.fft.rfft(jnp.concatenate(framed, axis=1) * window)
  inside = jnp.arange(count) <= length // hop
  return jnp.pad(jnp.where(inside[:, None], spectra, 0), ((0, 2), (0, 0)))


def _phase(bins):
  """Of size 1; 1 where there is nothing."""
  size = jnp.abs(bins)
  return jnp.where(size > 0, bins / jnp.where(size > 0, size, 1), 1)


def _overlapped(frames, hop):
  """[frames, samples of one] -> [samples], each `hop` after the one before."""
  parts = jnp.split(frames, _OVERLAP, axis=1)
  padded = [
    jnp.pad(part, ((first, _OVERLAP - 1 - first), (0, 0)))
    for first, part in enumerate(parts)
  ]
  return jnp.sum(jnp.stack(padded), axis=0).reshape(-1)


def _resampled(y, ratio):
  """At `ratio` times the sample rate: [samples] -> [samples * ratio].

  Convolved with the low-pass at every sample, and with what it changes by between two
  (Farrow, A Continuously Variable Digital Delay Element, ISCAS 1988).
  """
  taps = _low_pass(ratio)
  samples, reach = len(y), len(taps[0]) // 2
  fast = scipy.fft.next_fast_len(samples + 2 * reach, real=True)
  around = jnp.fft.irfft(jnp.fft.rfft(y, fast) * np.fft.rfft(taps, fast), fast)
  at = np.arange(math.ceil(samples * ratio)) / ratio
  nearest = np.minimum(np.rint(at).astype(int), samples - 1)
  powers = np.float32((at - nearest)[:, None] ** np.arange(_DEGREE + 1))
  return jnp.sum(around.T[nearest + reach] * powers, axis=1)


@functools.cache
def _low_pass(ratio) -> np.ndarray:
  """[power, tap]: the filter's answer between two samples as polynomials of where."""
  passed = _PASSED * min(1, ratio)
  longest = _PERIODS / min(1, ratio)
  reach = math.ceil(longest) + 1
  nodes = np.polynomial.chebyshev.chebpts1(2 * _DEGREE) / 2
  at = nodes[:, None] + np.arange(-reach, reach + 1)
  inside = np.sqrt(np.maximum(0, 1 - (at / longest) ** 2))
  window = np.where(inside > 0, scipy.special.i0(_BETA * inside), 0)
  heard = passed * np.sinc(passed * at) * window / scipy.special.i0(_BETA)
  fitted = np.polynomial.polynomial.polyfit(nodes, heard, _DEGREE)
  return np.asarray(fitted, np.float32)
