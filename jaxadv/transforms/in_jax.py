"""The functions of the transforms in JAX, under the parameters that numpy's have.

x float32 [samples], draws, length -> float32 [samples]; the references say what each
does. length: int or int32 [], the samples of x that are the clip. The rest is padding:
x is 0 there, and what comes back there is cut off by `within`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from jaxadv.transforms import codecs, filters, levels, room, timing, vocoder
from jaxadv.transforms.transform import SAMPLE_RATE_HZ, no_draws

stop = jax.lax.stop_gradient


def within(apply):
  """x, draws, length=None -> apply's, from and to a clip that ends at `length`."""

  def apply_within(x, draws, length=None):
    length = len(x) if length is None else length
    return cut(apply(cut(x, length), draws, length), length)

  return apply_within


def cut(x, length):
  """x, and 0 from `length` on."""
  if isinstance(length, int) and length >= len(x):
    return x
  return jnp.where(jnp.arange(len(x)) < length, x, 0)


def call_host(x, draws, length, apply):
  """apply(x, draws) of the numpy stage, with the identity's gradient."""

  def hear(x, length):
    y = np.zeros(x.shape, np.float32)
    y[:length] = apply(np.array(x[:length]), draws)
    return y

  like = jax.ShapeDtypeStruct(x.shape, jnp.float32)
  heard = jax.pure_callback(hear, like, stop(x), length, vmap_method="sequential")
  return straight_through(x, heard)


def straight_through(x, y):
  """y, with the gradient of x."""
  return stop(y) + (x - stop(x))


def _draw_normal(key, samples):
  return (jax.random.normal(key, (samples,)),)


def _draw_uniform(key, samples):
  return (jax.random.uniform(key, (samples,), minval=-1.0),)


def _draw_gain(key, samples, gain_db, range_db):
  del samples
  drawn_db = gain_db + range_db * jax.random.uniform(key, minval=-1.0)
  return (10.0 ** (drawn_db / 20),)


def _draw_shift(key, samples, shift_s, range_s):
  drawn_s = shift_s + range_s * jax.random.uniform(key, minval=-1.0)
  drawn = jnp.round(drawn_s * SAMPLE_RATE_HZ)
  return (jnp.clip(drawn, -samples, samples).astype(jnp.int32),)


def _transcode(x, draws, length, **parameters):
  return call_host(x, draws, length, partial(codecs.transcode, **parameters))


def _transcode_vorbis(x, draws, length, **parameters):
  return call_host(x, draws, length, partial(codecs.transcode_vorbis, **parameters))


def _through_rate(x, draws, length, rate_hz):
  period = filters.period_samples(SAMPLE_RATE_HZ, rate_hz)
  padded = jnp.pad(x, (0, -len(x) % period))
  there = _resample(padded, SAMPLE_RATE_HZ, rate_hz)
  # the filter rings on beyond the end of the clip
  there = cut(there, -(-length // period) * (period * rate_hz // SAMPLE_RATE_HZ))
  return _resample(there, rate_hz, SAMPLE_RATE_HZ)[: len(x)]


def _resample(x, rate_hz, new_rate_hz):
  """[n] -> [n * new / old], a whole number."""
  kernel = filters.resampling_kernel(rate_hz, new_rate_hz)
  blocks, block, _ = kernel.shape
  margin = blocks // 2 * block
  padded = jnp.pad(x, (margin, margin + -len(x) % block))
  y = jax.lax.conv_general_dilated(
    padded.reshape(1, -1, block),
    jnp.asarray(kernel),
    (1,),
    "VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
    precision="highest",
  )
  return y.reshape(-1)[: len(x) * new_rate_hz // rate_hz]


def _convolve(x, taps):
  samples = len(x) + len(taps) - 1
  fast = scipy.fft.next_fast_len(samples, real=True)
  spectrum = jnp.fft.rfft(x, fast) * jnp.fft.rfft(taps, fast)
  return jnp.fft.irfft(spectrum, fast)[:samples]


def _convolve_centred(x, draws, length, taps):
  middle = len(taps) // 2
  return _convolve(x, taps)[middle : middle + len(x)]


def _windows(x, length, window_samples):
  """[samples] -> [window, samples], ends repeated."""
  x = jnp.where(jnp.arange(len(x)) < length, x, x[length - 1])
  padded = jnp.pad(x, window_samples // 2, mode="edge")
  return jnp.stack([padded[i : i + len(x)] for i in range(window_samples)])


def _moving_average(x, draws, length, window_samples):
  return _windows(x, length, window_samples).mean(axis=0)


def _moving_median(x, draws, length, window_samples):
  return jnp.median(_windows(x, length, window_samples), axis=0)


def _norm(x):
  """|x|, with gradient 0 at 0."""
  squared = jnp.sum(x**2)
  return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def _scale_to_snr(x, added, snr_db):
  return _norm(x) / jnp.maximum(_norm(added), 1e-15) * 10 ** (-snr_db / 20) * added


def _add_at_snr(x, draws, length, snr_db):
  return x + _scale_to_snr(x, cut(draws[0], length), snr_db)


def _add(x, draws, length, amplitude):
  return x + amplitude * draws[0]


def _multiply(x, draws, length):
  return x * draws[0]


def _quantise(x, draws, length, bits):
  levels = 2.0 ** (bits - 1)
  rounded = jnp.clip(jnp.round(x * levels), -levels, levels - 1) / levels
  return straight_through(x, rounded)


def _convolve_room(x, draws, length, response, level, pink_noise_db):
  y = cut(_convolve(x, response)[: len(x)], length)
  y = _set_level(y, x, level)
  if not draws:
    return y
  gain = jnp.asarray(room.pink_gain(len(x)), jnp.float32)
  pink = cut(jnp.fft.irfft(jnp.fft.rfft(draws[0]) * gain, len(x)), length)
  return _set_level(y + _scale_to_snr(y, pink, pink_noise_db), x, level)


def _set_level(y, x, level):
  if level == "none":
    return y
  wanted = room.PEAK if level == "peak" else _norm(x)
  has = jnp.abs(y).max() if level == "peak" else _norm(y)
  return y * jnp.where(has > 0, wanted / jnp.where(has > 0, has, 1), 1)


def _delay(x, draws, length):
  padded = jnp.pad(x, len(x))
  return jax.lax.dynamic_slice(padded, (len(x) - draws[0],), (len(x),))


def _cut_silence(x, draws, length, below_peak_db):
  """Where the sound begins and ends is a constant of the gradient."""
  frame, hop = timing.TRIM_FRAME, timing.TRIM_HOP
  count = 1 + len(x) // hop
  padded = jnp.pad(x, (frame // 2, frame))[: (count + frame // hop - 1) * hop]
  energy = jnp.sum(padded.reshape(-1, hop) ** 2, axis=1)
  energy = sum(energy[first : first + count] for first in range(frame // hop))
  level = jnp.maximum(energy / frame, timing.TRIM_FLOOR**2)
  at = jnp.arange(count)
  level = jnp.where(at <= length // hop, level, 0)
  loud = level > level.max() * 10 ** (-below_peak_db / 10)
  first, last = jnp.argmax(loud), count - 1 - jnp.argmax(loud[::-1])
  moved = jax.lax.dynamic_slice(jnp.pad(x, (0, len(x))), (first * hop,), (len(x),))
  return cut(moved, (last + 1 - first) * hop)


DRAWS: dict[Callable, Callable[..., Any]] = {
  no_draws: no_draws,
  levels.draw_normal: _draw_normal,
  levels.draw_uniform: _draw_uniform,
  levels.draw_gain: _draw_gain,
  timing.draw_shift: _draw_shift,
}
APPLIES: dict[Callable, Callable[..., jax.Array]] = {
  codecs.transcode: _transcode,
  codecs.transcode_vorbis: _transcode_vorbis,
  filters.through_rate: _through_rate,
  filters.convolve_centred: _convolve_centred,
  filters.moving_average: _moving_average,
  filters.moving_median: _moving_median,
  levels.add_at_snr: _add_at_snr,
  levels.add: _add,
  levels.multiply: _multiply,
  levels.quantise: _quantise,
  room.convolve_room: _convolve_room,
  timing.delay: _delay,
  timing.cut_silence: _cut_silence,
  timing.stretch: vocoder.stretch,
  timing.shift_pitch: vocoder.shift_pitch,
}
