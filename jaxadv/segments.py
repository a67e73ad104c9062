"""What a network is trained on, in batches: chunks of features, excerpts of waveforms.

Numpy only. Both kinds have label, clip (whose) and verified for every row, and three
functions: `select` rows, `draw` what the network sees of some rows in one step of
training, and `whole`, what it sees of all of them when it is validated.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.data import pad_to_chunks

_SMALLEST_PEAK = 1e-20  # Jeong and Lim's


class Chunks(NamedTuple):
  """features float32 [n, frames, bands] in dB; label, clip int [n]; verified bool [n].

  An hour of log-mel (64 bands, hop 512 at 32 kHz) takes 58 MB.
  """

  features: np.ndarray
  label: np.ndarray
  clip: np.ndarray
  verified: np.ndarray

  def select(self, keep: np.ndarray) -> "Chunks":
    """The rows where `keep`, bool [n]."""
    return Chunks(*(part[keep] for part in self))

  def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The features of these rows: [len(rows), frames, bands]."""
    del rng
    return self.features[rows]

  def whole(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (rows, features [batch, frames, bands]), zeros after the last row."""
    for start in range(0, len(self.label), batch):
      rows = np.arange(start, min(start + batch, len(self.label)))
      yield rows, _fill(list(self.features[rows]), batch)


class Waveforms(NamedTuple):
  """waves: n of float32 [samples], unpadded; label, clip int [n]; verified bool [n].

  All waveforms stay in memory: 461 MB for each hour of audio at 32 kHz (4 bytes a
  sample), so 8 to 9 GB for the 18 hours of FSDKaggle2018's training set.
  """

  waves: tuple[np.ndarray, ...]
  label: np.ndarray
  clip: np.ndarray
  verified: np.ndarray
  excerpt_samples: int
  normalise_peak: bool

  def select(self, keep: np.ndarray) -> "Waveforms":
    """The rows where `keep`, bool [n]; the samples are not copied."""
    return self._replace(
      waves=tuple(self.waves[row] for row in np.flatnonzero(keep)),
      label=self.label[keep],
      clip=self.clip[keep],
      verified=self.verified[keep],
    )

  def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random excerpt of each row: [len(rows), excerpt_samples].

    With normalise_peak, divided by its own largest absolute sample (at least 1e-20).
    Jeong and Lim, DCASE 2018 task 2, and the code of their predictions.
    """
    parts = [excerpt(self.waves[row], self.excerpt_samples, rng) for row in rows]
    x = np.stack(parts)
    if self.normalise_peak:
      x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), _SMALLEST_PEAK)
    return x

  def whole(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (rows, waveforms [some, samples]): each whole, as it will be attacked.

    Zero-padded to a multiple of 65,536 samples and not normalised (Subramanian et al.,
    2019, the authors' code). Rows of one length come together, in batches of one size
    for each length, filled up with zeros: as many shapes as lengths. A batch holds at
    most as many samples as `batch` excerpts, or one clip.
    """
    counts = np.array([len(pad_to_chunks(x)) for x in self.waves])
    for samples in np.unique(counts):
      rows = np.flatnonzero(counts == samples)
      size = int(min(len(rows), max(1, batch * self.excerpt_samples // samples)))
      for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield some, _fill([pad_to_chunks(self.waves[row]) for row in some], size)


Examples = Chunks | Waveforms


def excerpt(x: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
  """`samples` of x from a random place on; all of a shorter x at a random place in
  zeros. All places are equally likely. Float32 [samples], a copy."""
  room = abs(len(x) - samples)
  at = int(rng.integers(room + 1))
  if len(x) >= samples:
    return np.array(x[at : at + samples], np.float32)
  return np.pad(x, (at, room - at)).astype(np.float32, copy=False)


def _fill(parts: list[np.ndarray], size: int) -> np.ndarray:
  """The parts stacked, and zeros for those that lack: [size, ...]."""
  out = np.zeros((size, *parts[0].shape), np.float32)
  out[: len(parts)] = parts
  return out


def class_balanced(
  label: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
  """`count` indices: a uniform class each, then the next of its shuffled examples."""
  order = {c: rng.permutation(np.flatnonzero(label == c)) for c in np.unique(label)}
  classes = rng.choice(list(order), count)
  taken = dict.fromkeys(order, 0)
  picked = np.empty(count, np.int64)
  for at, c in enumerate(classes):
    picked[at] = order[c][taken[c] % len(order[c])]
    taken[c] += 1
  return picked


def mixup_batches(
  examples: Examples,
  classes: int,
  *,
  batch: int,
  steps: int,
  alpha: float,
  seed: int | Sequence[int],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields (x [batch, ...], probabilities [batch, classes], unverified [batch]).

  lambda * one + (1 - lambda) * other, lambda ~ Beta(alpha, alpha) for each pair, both
  drawn class-balanced, before standardisation. alpha 0: no mixup. unverified: the share
  of the mixture that comes from unverified clips.
  Zhang et al., mixup, ICLR 2018; Iqbal et al., DCASE 2018 task 2 (per-pair lambda).
  """
  rng = np.random.default_rng(seed)
  one, other = (class_balanced(examples.label, batch * steps, rng) for _ in range(2))
  share = rng.beta(alpha, alpha, batch * steps) if alpha else np.ones(batch * steps)
  share = share.astype(np.float32)
  identity = np.eye(classes, dtype=np.float32)
  doubt = (~examples.verified).astype(np.float32)
  for start in range(0, batch * steps, batch):
    i, j = one[start : start + batch], other[start : start + batch]
    a = share[start : start + batch]
    yield (
      _mix(examples.draw(i, rng), examples.draw(j, rng), a),
      _mix(identity[examples.label[i]], identity[examples.label[j]], a),
      _mix(doubt[i], doubt[j], a),
    )


def _mix(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
  a = share.reshape(-1, *[1] * (one.ndim - 1))
  return a * one + (1 - a) * other
