"""Many clips through many transforms, in threads or worker processes."""

import functools
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxadv.errors import InputError
from jaxadv.transforms.transform import SAMPLE_RATE_HZ, Transform, rng_of

ClipId = int | str


class Transformed(NamedTuple):
  """One transform of one clip. x: float32 [samples], or None with the reason."""

  clip_id: ClipId
  transform: str
  x: np.ndarray | None
  reason: str


def transform_all(
  clips: Iterable[tuple[ClipId, np.ndarray | str | Path]],
  transforms: Sequence[Transform],
  *,
  seed: int,
  threads: int = 4,
  processes: int = 0,
  buffer: int = 16,
  wanted: Callable[[ClipId, str], bool] = lambda clip_id, transform: True,
) -> Generator[Transformed]:
  """Every transform of every clip, clip by clip, in the order given.

  clips: (id, waveform at 32 kHz or a sound file), taken as they are needed; `buffer`
  results are held ahead. What is yielded depends on (seed, id, transform) only, not on
  `threads` (used if processes is 0) or `processes`. A clip that can't be read and a
  transform that fails are yielded with the reason. `close()` ends the workers early.
  wanted: clip's id, transform's name -> whether it is, where some are done already.

  Processes are spawned: a script that asks for them needs the usual
  `if __name__ == "__main__":`. InputError where one of them is killed.
  """
  names = [transform.name for transform in transforms]
  if twice := {name for name in names if names.count(name) > 1}:
    raise InputError(
      f"two transforms are called {min(twice)!r}: give one another name, with _replace"
    )
  if processes:
    _require_picklable(transforms)
  work = functools.partial(_transform_one, seed=seed)
  jobs = _jobs(clips, transforms, wanted)
  return _in_order(work, jobs, threads, processes, buffer)


def _require_picklable(transforms: Sequence[Transform]):
  for transform in transforms:
    try:
      pickle.dumps(transform)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
      raise InputError(
        f"{transform.name} can't be sent to a worker process ({error}): give its "
        "function as FILE.py:NAME, or processes=0"
      ) from error


def _jobs(
  clips, transforms, wanted
) -> Iterator[tuple[ClipId, np.ndarray | str, Transform]]:
  # read here, once: jaxadv.data loads grain, grain jax, and workers need neither
  for clip_id, given in clips:
    x = given if isinstance(given, np.ndarray) else _read(given)
    for transform in transforms:
      if wanted(clip_id, transform.name):
        yield clip_id, x, transform


def _read(path: str | Path) -> np.ndarray | str:
  """The waveform, or why there is none."""
  from jaxadv.data.audio import BadClip, read_audio

  try:
    return read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ).x
  except BadClip as bad:
    return bad.reason


def _transform_one(
  job: tuple[ClipId, np.ndarray | str, Transform], *, seed: int
) -> Transformed:
  clip_id, x, transform = job
  if isinstance(x, str):
    return Transformed(clip_id, transform.name, None, x)
  try:
    y = transform(x, rng_of(seed, clip_id, transform.name))
  except InputError as error:
    return Transformed(clip_id, transform.name, None, str(error))
  except Exception as error:  # codecs and users' functions may raise anything
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Transformed(clip_id, transform.name, None, reason)
  return Transformed(clip_id, transform.name, y, "")


def _in_order(work, jobs, threads, processes, buffer) -> Generator[Transformed]:
  pool = (
    # fork would copy the threads of jax, which may hold locks
    futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    if processes
    else futures.ThreadPoolExecutor(threads)
  )
  waiting: deque[futures.Future[Transformed]] = deque()
  try:
    for job in jobs:
      waiting.append(pool.submit(work, job))
      if len(waiting) > max(buffer, threads, processes):
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  except BrokenProcessPool as error:
    raise InputError(
      f"one of the {processes} worker processes was killed, most often because memory "
      "ran out: give fewer runtime.processes, or 0 for threads; the same command goes "
      "on where it was"
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)
