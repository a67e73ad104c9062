"""Layers and frontends again, in float64 numpy, scipy, librosa; no code of ours."""

import librosa
import numpy as np
import scipy.signal


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """Sum over the input channels of 2-D correlations, zeros around.

  [B, H, W, I], [h, w, I, O] -> [B, H, W, O].
  """
  out = np.zeros((*x.shape[:3], kernel.shape[3]))
  for b in range(x.shape[0]):
    for i in range(kernel.shape[2]):
      for o in range(kernel.shape[3]):
        out[b, :, :, o] += scipy.signal.correlate(
          np.pad(x[b, :, :, i], [(n // 2, n // 2) for n in kernel.shape[:2]]),
          kernel[:, :, i, o],
          mode="valid",
          method="direct",
        )
  return out


def pool(x: np.ndarray) -> np.ndarray:
  """Largest of each 2x2 square. [B, H, W, C] -> [B, H//2, W//2, C]."""
  b, h, w, c = x.shape
  squares = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
  return squares.max((2, 4))


def mel_filters() -> np.ndarray:
  """[64, 513]."""
  return librosa.filters.mel(sr=32000, n_fft=1024, n_mels=64, dtype=np.float64)


def log_mel_attack(x: np.ndarray) -> np.ndarray:
  """SPEC A1b: frames from the start, the last padded. [q * 65536] -> [q, 128, 64]."""
  padded = np.append(np.float64(x), np.zeros(512))
  window = scipy.signal.get_window("hann", 1024)
  starts = range(0, len(x), 512)
  frames = np.stack([padded[at : at + 1024] * window for at in starts])
  mel = np.abs(np.fft.rfft(frames)) ** 2 @ mel_filters().T
  db = 10 * np.log10(mel + 1e-6)
  return (db - db.max()).reshape(-1, 128, 64)


def log_mel_train(x: np.ndarray) -> np.ndarray:
  """SPEC A1a, as librosa has it, less the last frame. [q * 65536] -> [q, 128, 64]."""
  mel = librosa.feature.melspectrogram(
    y=np.float64(x),
    sr=32000,
    n_fft=1024,
    hop_length=512,
    n_mels=64,
    center=True,
    pad_mode="reflect",
    power=2.0,
    dtype=np.float64,
  )
  db = librosa.power_to_db(mel, ref=np.max, amin=1e-10, top_db=None)
  return db.T[:-1].reshape(-1, 128, 64)


def kapre_mel(x: np.ndarray) -> np.ndarray:
  """SPEC A2, as librosa has it. [q * 65536] -> [1, q * 512, 64]."""
  mel = librosa.feature.melspectrogram(
    y=np.pad(np.float64(x), 448),
    sr=32000,
    n_fft=1024,
    hop_length=128,
    n_mels=64,
    center=False,
    power=2.0,
    dtype=np.float64,
  )
  return librosa.power_to_db(np.sqrt(mel), ref=np.max, amin=1e-10, top_db=80).T[None]
