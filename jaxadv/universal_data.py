"""What a universal perturbation is trained on: chunks of clips, shuffled, streamed.

The order of an epoch is known before a clip is decoded. It depends on the seed, the
epoch and the clips' headers alone, so every process of a run knows all of it, and a
restart needs nothing but the epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxadv import data
from jaxadv.data.audio import CHUNK_SAMPLES
from jaxadv.errors import InputError

# chunks among which one is drawn: at most so many are in memory (256 MiB), and a data
# set of no more is shuffled evenly
_WINDOW = 1024

Place = tuple[int, int]  # a clip's place in the list, a chunk of it


class Batch(NamedTuple):
  """A process's rows of a minibatch; those that don't count have id -1."""

  id: Any  # int32 [B]
  x: Any  # float32 [B, CHUNK_SAMPLES]
  samples: Any  # int32 [B], of x; zeros follow
  label: Any  # int32 [B]


def count_chunks(clips: Sequence[data.Clip]) -> list[int]:
  """Of each clip, as its header says; a clip without a header has at least one."""
  counts = {
    clip.index: chunks for chunks, some in data.by_bucket(clips) for clip in some
  }
  return [counts[clip.index] for clip in clips]


def count_batches(counts: Sequence[int], settings: Mapping[str, Any]) -> int:
  """Of an epoch. InputError for a batch of more chunks than there are."""
  size, chunks = settings["train"]["batch"], sum(counts)
  if size > chunks:
    raise InputError(
      f"train.batch is {size} and the clips to train on have {chunks} chunks: give no "
      "more"
    )
  return -(-chunks // size)


def shuffle(
  counts: Sequence[int], seed: Sequence[int], window: int = _WINDOW
) -> tuple[list[int], list[Place]]:
  """(clips in the order in which they are decoded, chunks in that of training).

  Each chunk is drawn from the `window` that came last and were not drawn.
  """
  rng = np.random.default_rng(seed)
  clips = rng.permutation(len(counts)).tolist()
  waiting: list[Place] = []
  order: list[Place] = []
  for at in clips:
    waiting += [(at, chunk) for chunk in range(counts[at])]
    while len(waiting) > window:
      drawn = rng.integers(len(waiting))
      waiting[drawn], waiting[-1] = waiting[-1], waiting[drawn]
      order.append(waiting.pop())
  return clips, order + [waiting[n] for n in rng.permutation(len(waiting))]


def epoch(
  clips: Sequence[data.Clip],
  counts: Sequence[int],
  settings: Mapping[str, Any],
  number: int,
  *,
  rows: int,
  share: tuple[int, int],
  skipped: dict[str, str],
) -> Iterator[Batch]:
  """The minibatches of an epoch: `train.batch` chunks each, the last one the rest.

  rows: of a batch, of which those without a chunk don't count. share: (index, count) of
  the processes, each of which gets its part of the rows and decodes no other clip.
  skipped: gains file -> reason; the chunks of such a clip don't count.
  """
  size = settings["train"]["batch"]
  own = slice(*(rows * at // share[1] for at in (share[0], share[0] + 1)))
  intake, order = shuffle(counts, (settings["seed"], number))
  batches: list[list[Place | None]] = []
  for start in range(0, len(order), size):
    places = order[start : start + size]
    batches.append([*places, *[None] * (rows - len(places))][own])
  wanted = {place for places in batches for place in places if place}
  decoded = [at for at in intake if any((at, n) in wanted for n in range(counts[at]))]
  stream = _decode(clips, decoded, settings, skipped)
  held: dict[Place, tuple[np.ndarray, int]] = {}
  waiting = set(decoded)
  for places in batches:
    while {place[0] for place in places if place} & waiting:
      at, chunks = next(stream)
      waiting.remove(at)
      held |= {(at, n): chunk for n, chunk in enumerate(chunks) if (at, n) in wanted}
    yield _stack(clips, places, held)


def _decode(clips, decoded, settings, skipped):
  """Yields (place of a clip, its chunks and how many samples each has)."""
  loaded = data.load(
    [clips[at] for at in decoded],
    band_limit_hz=settings["data"]["band_limit_hz"],
    threads=settings["runtime"]["threads"],
    processes=settings["runtime"]["processes"],
  )
  for at, (clip, x, samples, _, reason) in zip(decoded, loaded, strict=True):
    if x is None:
      skipped[clip.file] = reason
      yield at, []
      continue
    starts = range(0, len(x), CHUNK_SAMPLES)
    yield (
      at,
      [
        # a copy: a view would keep the whole clip in memory
        (x[start : start + CHUNK_SAMPLES].copy(), min(samples - start, CHUNK_SAMPLES))
        for start in starts
      ],
    )


def _stack(clips, places, held) -> Batch:
  batch = Batch(
    np.full(len(places), -1, np.int32),
    np.zeros((len(places), CHUNK_SAMPLES), np.float32),
    np.zeros(len(places), np.int32),
    np.zeros(len(places), np.int32),
  )
  for row, place in enumerate(places):
    if place in held:
      batch.x[row], batch.samples[row] = held.pop(place)
      batch.id[row], batch.label[row] = clips[place[0]].index, clips[place[0]].label
  return batch
