"""Waveform to features, differentiable down to the samples.

Every frontend takes one waveform of a whole number of chunks, [chunks * 65536] at
32 kHz, and gives [batch, frames, bands] in dB, where the batch is the clip's chunks
(128 frames each) or the clip as a whole, with finite gradients at silence; or
[1, samples] for networks that take waveforms.
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
# backends whose matrix product beats their FFT. On CPU the FFT is 4 to 5 times as fast
# (forward and gradient, 16 clips); GPU and TPU have not been measured.
BY_PRODUCT: tuple[str, ...] = ()


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


def _mel_power(x: Array, hop: int = HOP) -> Array:
  """Mel power of every whole frame of 1024, one each `hop` samples. [n] -> [f, 64]."""
  every = N_FFT // hop
  count = (len(x) - N_FFT) // hop + 1
  rounds = -(-count // every)
  x = jnp.pad(x, (0, (rounds + 1) * N_FFT - len(x)))
  # frames that touch each other are a reshape; a gather, and its scatter gradient, are
  # slow, and so are frames of concatenated hops: they are `every` times the clip
  touching = [x[at * hop :][: rounds * N_FFT].reshape(-1, N_FFT) for at in range(every)]
  mel = jnp.stack([_mel_of(frames) for frames in touching], axis=1)
  return mel.reshape(-1, MELS)[:count]


def _mel_of(frames: Array) -> Array:
  """Mel power of frames. [frames, 1024] -> [frames, 64]."""
  if jax.default_backend() in BY_PRODUCT:
    real, imag = jnp.split(_product(frames, _dft()), 2, axis=-1)
  else:
    spectrum = jnp.fft.rfft(frames * _hann().astype(np.float32))
    real, imag = jnp.real(spectrum), jnp.imag(spectrum)
  return _product(real**2 + imag**2, mel_filters())


def _product(x, matrix):
  """A spectrum is float32, whatever the precision of the network."""
  return jnp.matmul(x, matrix, precision=jax.lax.Precision.HIGHEST)


def _hann() -> np.ndarray:
  return np.hanning(N_FFT + 1)[:-1]


@functools.cache
def _dft() -> np.ndarray:
  """Real and imaginary parts of the windowed DFT, float32 [1024, 2 * 513]."""
  turns = np.outer(np.arange(N_FFT), np.arange(N_FFT // 2 + 1)) / N_FFT
  turning = _hann()[:, None] * np.exp(-2j * np.pi * turns)
  return np.hstack([np.real(turning), np.imag(turning)]).astype(np.float32)


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


def kapre_mel(x: Array) -> Array:
  """kapre's decibels of the mel amplitude, relative to the clip's loudest cell.

  Frames of 1024 every 128 samples, 448 zeros on either side; the root of the mel power
  a; max(-80, 10 log10(max(a, 1e-10)) - its maximum over the clip), which is 5 log10 of
  the power. [q * 65536] -> [1, q * 512, 64]: a clip is not cut to chunks. Choi, Joo,
  Kim, Kapre, 2017 (version 0.1.3), as Jeong and Lim use it, DCASE 2018.
  """
  hop = N_FFT // 8
  mel = _mel_power(jnp.pad(x, (N_FFT - hop) // 2), hop)
  # the root of a power below 1e-20 is below the floor
  decibels = 5 * jnp.log10(jnp.maximum(mel, 1e-20))
  return jnp.maximum(decibels - decibels.max(), -80.0)[None]


def waveform(x: Array) -> Array:
  """The samples themselves, for networks that begin with them. [n] -> [1, n]."""
  return x[None]


def waveform_peak(x: Array) -> Array:
  """The samples, the largest of them at 1 or -1. [n] -> [1, n]; silence stays silent.

  Jeong and Lim, DCASE 2018, their code; P0 and P1 attacked without it.
  """
  peak = jnp.abs(x).max()
  # the gradient has the peak's square in it, which must not underflow
  return (x / jnp.where(peak > 1e-18, peak, 1.0))[None]


# [samples] -> [batch, frames, bands], or [1, samples] for those that give waveforms
FRONTENDS = {
  "log_mel_attack": log_mel_attack,
  "log_mel_train": log_mel_train,
  "kapre_mel": kapre_mel,
  "waveform": waveform,
  "waveform_peak": waveform_peak,
}
WAVEFORMS = ("waveform", "waveform_peak")
