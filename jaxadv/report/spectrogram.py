"""Spectrograms in dB of full scale, with numpy only: figures and thumbnails."""

import numpy as np

WINDOW_SAMPLES = 1024
FLOOR_DB = -200.0  # what digital silence reads as


def level_db(samples: np.ndarray, *, columns: int = 480) -> np.ndarray:
  """Power per bin and time in dBFS; a full-scale sine reads 0. [samples] -> [513, C].

  |sum_n w[n] x[n] e^{-i 2 pi k n / 1024}|^2 / (sum w / 2)^2, w: Hann. Frames are
  centred on multiples of the hop, 64 to 512 samples: fine enough that a clip of 0.3 s
  is not a row of blocks. More than `columns` frames are averaged down to that many.
  """
  hop = int(np.clip(len(samples) // columns, 64, WINDOW_SAMPLES // 2))
  padded = np.pad(np.asarray(samples, np.float32), WINDOW_SAMPLES // 2)
  frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::hop]
  window = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
  power = np.abs(np.fft.rfft(frames * window)) ** 2 / (window.sum() / 2) ** 2
  if len(power) > columns:
    starts = np.linspace(0, len(power), columns, endpoint=False).astype(int)
    counts = np.diff(starts, append=len(power))
    power = np.add.reduceat(power, starts) / counts[:, None]
  return 10 * np.log10(np.maximum(power.T, 10 ** (FLOOR_DB / 10)))


def peak_db(level: np.ndarray) -> float:
  """The loudest bin, rounded up to a whole dB: the top of a colour scale."""
  return float(np.ceil(level.max()))


def thumbnail(level: np.ndarray, top_db: float, range_db: float) -> np.ndarray:
  """8-bit indices into a colour map. [513, C] -> [128, C], high frequencies first."""
  pooled = level[:512].reshape(128, 4, -1).max(1)
  scaled = np.clip((pooled - top_db) / range_db + 1, 0, 1)
  return (255 * scaled[::-1]).astype(np.uint8)
