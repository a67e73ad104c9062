"""Many recordings, decoded ahead of the device in threads or worker processes."""

import atexit
import contextlib
import functools
import gc
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from jaxadv.data.audio import (
  CHUNK_SAMPLES,
  SAMPLE_RATE_HZ,
  BadClip,
  count_chunks,
  pad_to_chunks,
  read_audio,
)
from jaxadv.data.fsdkaggle import Clip


class Loaded(NamedTuple):
  """A clip and its waveform, or why it was skipped.

  x: float32 [chunks * chunk_samples], zeros after `samples`; None when skipped.
  notes: what was done to the recording. skipped: "", or the reason.
  """

  clip: Clip
  x: np.ndarray | None
  samples: int
  notes: tuple[str, ...]
  skipped: str


def load(
  clips: Sequence[Clip],
  *,
  sample_rate_hz: int = SAMPLE_RATE_HZ,
  band_limit_hz: int = 0,
  chunk_samples: int = CHUNK_SAMPLES,
  threads: int = 4,
  processes: int = 0,
  buffer: int = 16,
) -> Generator[Loaded]:
  """The clips in their order, each decoded, resampled and padded.

  What is yielded doesn't depend on `threads` (per process) nor on `processes`. About
  `buffer` clips are held ahead, however many there are. A bad clip is yielded with
  its reason in `skipped`. `close()` ends the workers before the last clip.

  Worker processes are spawned: a script that asks for them needs the usual
  `if __name__ == "__main__":` around its main call.
  """
  work = functools.partial(
    _load_clip,
    sample_rate_hz=sample_rate_hz,
    band_limit_hz=band_limit_hz,
    chunk_samples=chunk_samples,
  )
  # a worker has one buffer for its threads, and grain warns if that is the smaller one
  ahead = max(threads, buffer // max(1, processes))
  source = grain.MapDataset.source(list(clips)).map(work)
  dataset = source.to_iter_dataset(grain.ReadOptions(threads, ahead))
  if not processes:
    return _iterate(dataset)
  if not flags.FLAGS.is_parsed():
    # grain reads its debug flags, which fails outside an absl app
    flags.FLAGS.mark_as_parsed()
  # this queue holds finished clips on top of the worker's own buffer
  options = grain.MultiprocessingOptions(processes, 1)
  loaded = _iterate_processes(dataset.mp_prefetch(options))
  _with_workers.add(loaded)
  return loaded


def _iterate(dataset: grain.IterDataset) -> Generator[Loaded]:
  with contextlib.closing(iter(dataset)) as loaded:
    yield from loaded


def _iterate_processes(dataset: grain.IterDataset) -> Generator[Loaded]:
  try:
    with contextlib.closing(iter(dataset)) as loaded:
      yield from map(_leave_shared_memory, loaded)
  finally:
    # each worker's last array hangs in a reference cycle of grain 0.2.18: without this,
    # Python warns at exit of as many leaked shared_memory objects
    gc.collect()


# An iterator with workers that is still open when the modules are torn down (a script
# that ends early, or by an exception) prints tracebacks and leaks shared memory
_with_workers: weakref.WeakSet[Generator[Loaded]] = weakref.WeakSet()


@atexit.register
def _close_workers() -> None:
  for loaded in list(_with_workers):
    loaded.close()


def _leave_shared_memory(one: Loaded) -> Loaded:
  # containers have little of it, and our callers may keep what they get
  return one if one.x is None else one._replace(x=np.array(one.x))


def _load_clip(
  clip: Clip, *, sample_rate_hz: int, band_limit_hz: int, chunk_samples: int
) -> Loaded:
  try:
    audio = read_audio(
      clip.path, sample_rate_hz=sample_rate_hz, band_limit_hz=band_limit_hz
    )
  except BadClip as bad:
    return Loaded(clip, None, 0, (), bad.reason)
  return Loaded(
    clip, pad_to_chunks(audio.x, chunk_samples), len(audio.x), audio.notes, ""
  )


def usable(
  loaded: Iterable[Loaded], skipped: dict[str, str], say: Callable[[str], object]
) -> Iterator[tuple[Clip, np.ndarray, int]]:
  """(clip, x, samples) of the clips that can be used.

  `skipped` (file -> reason) gains the others, and loses those that can be used by now;
  `say` is told what was done to a recording, such as "a.wav: clipped to [-1, 1] ...".
  """
  for clip, x, samples, notes, reason in loaded:
    if x is None:
      skipped[clip.file] = reason
      continue
    skipped.pop(clip.file, None)
    for note in notes:
      say(f"{clip.file}: {note}")
    yield clip, x, samples


def by_bucket(
  clips: Sequence[Clip],
  *,
  sample_rate_hz: int = SAMPLE_RATE_HZ,
  chunk_samples: int = CHUNK_SAMPLES,
) -> list[tuple[int, tuple[Clip, ...]]]:
  """(chunks, clips) with the fewest chunks first; clips keep their order in a bucket.

  Reads headers only. A clip whose header is bad goes into the first bucket: `load`
  skips it with its reason, and no shape is compiled for it.
  """
  counts = [_chunks_or_zero(clip, sample_rate_hz, chunk_samples) for clip in clips]
  first = min((count for count in counts if count), default=1)
  buckets: dict[int, list[Clip]] = {}
  for clip, count in zip(clips, counts, strict=True):
    buckets.setdefault(count or first, []).append(clip)
  return [(chunks, tuple(buckets[chunks])) for chunks in sorted(buckets)]


def _chunks_or_zero(clip: Clip, sample_rate_hz: int, chunk_samples: int) -> int:
  try:
    return count_chunks(
      clip.path, sample_rate_hz=sample_rate_hz, chunk_samples=chunk_samples
    )
  except BadClip:
    return 0
