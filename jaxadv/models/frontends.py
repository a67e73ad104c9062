"""Waveform to features, differentiable down to the samples.

Every frontend takes one waveform of a whole number of chunks, [chunks * 65536] at
32 kHz, and gives [chunks, 128 frames, 64 mel bands] in dB, with finite gradients at
silence.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

SAMPLE_RATE_HZ = 32000
N_FFT = 1024
HOP = 512
MELS = 64
CHUNK_FRAMES = 128
CHUNK_SAMPLES = CHUNK_FRAMES * HOP


def _hz_to_mel(hz):
  """Slaney's scale: linear below 1 kHz, logarithmic above."""
  hz = np.asarray(hz, np.float64)
  return np.where(
    hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4)
  )


def _mel_to_hz(mel):
  return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@functools.cache
def mel_filters(sample_rate_hz=SAMPLE_RATE_HZ, n_fft=N_FFT, mels=MELS) -> np.ndarray:
  """Triangles of unit area on Slaney's mel scale, float32 [n_fft // 2 + 1, mels].

  Equal to librosa.filters.mel(htk=False, norm="slaney").T, without librosa, which the
  device stage does not import. Slaney, Auditory Toolbox, 1998.
  """
  edges = _mel_to_hz(np.linspace(0, _hz_to_mel(sample_rate_hz / 2), mels + 2))
  bins = np.arange(n_fft // 2 + 1)[:, None] * sample_rate_hz / n_fft
  rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
  falling = (edges[2:] - bins) / np.diff(edges)[1:]
  triangles = np.maximum(0, np.minimum(rising, falling))
  return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def _mel_power(x: Array) -> Array:
  """Mel power of every whole frame. [(frames + 1) * 512] -> [frames, 64]."""
  # frames of two hops by concatenation: a gather and its scatter gradient are slow
  hops = x.reshape(-1, HOP)
  frames = jnp.concatenate([hops[:-1], hops[1:]], axis=1)
  window = jnp.asarray(np.hanning(N_FFT + 1)[:-1], jnp.float32)
  spectrum = jnp.fft.rfft(frames * window)
  power = spectrum.real**2 + spectrum.imag**2
  return power @ jnp.asarray(mel_filters())


def log_mel_attack(x: Array) -> Array:
  """Frames from the start, the last one zero-padded; dB relative to the clip's maximum.

  10 log10(mel + 1e-6) - its maximum over the whole clip. [q * 65536] -> [q, 128, 64].
  The frontend that the attacks of P0 and P1 go through: Subramanian et al., Adversarial
  attacks in sound event classification, 2019, and the authors' code.
  """
  mel = _mel_power(jnp.pad(x, (0, HOP)))
  decibels = 10 * jnp.log10(mel + 1e-6)
  return (decibels - decibels.max()).reshape(-1, CHUNK_FRAMES, MELS)


def log_mel_train(x: Array) -> Array:
  """Centred frames, reflected at the ends: Iqbal et al. trained their models on it.

  10 log10(max(mel, 1e-10)) minus the clip's maximum, cut to whole chunks of 128 frames
  (a padded clip has one frame too many, dropped at its end). [q * 65536] ->
  [q, 128, 64]. Iqbal et al., DCASE 2018 task 2, the authors' code.
  """
  mel = _mel_power(jnp.pad(x, N_FFT // 2, mode="reflect"))
  decibels = 10 * jnp.log10(jnp.maximum(mel, 1e-10))
  return (decibels - decibels.max())[:-1].reshape(-1, CHUNK_FRAMES, MELS)


FRONTENDS = {"log_mel_attack": log_mel_attack, "log_mel_train": log_mel_train}
