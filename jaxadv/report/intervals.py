"""Bootstrap intervals over clips.

The clips are drawn, not the rows: the rows of one clip (its targets, its models) come
or stay away together, because they are not independent. Efron, Tibshirani, An
Introduction to the Bootstrap, 1993, chapters 8 and 13 (percentile interval).
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
  """A number of the rows and the percentile interval around it."""

  value: float
  low: float
  high: float


class Sample(NamedTuple):
  """values [n] and the clip that each of them is of."""

  values: Sequence[float]
  clips: Sequence[Hashable]


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """[n], [resamples, n] -> [resamples]; NaN where no value was drawn."""
  with np.errstate(invalid="ignore"):
    return weights @ values / weights.sum(1)


def _median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """As `_mean`: the middle value, or the mean of the two, weights counting copies."""
  order = np.argsort(values)
  values, below = values[order], np.cumsum(weights[:, order], axis=1)
  total = below[:, -1:]
  # of copies numbered from 1, the middle ones; at a total of 0 any, for it is NaN
  middle = [np.floor((total + 1) / 2), np.floor(total / 2) + 1]
  last = len(values) - 1
  at = [np.minimum((below < number).sum(1), last) for number in middle]
  return np.where(total[:, 0] > 0, (values[at[0]] + values[at[1]]) / 2, np.nan)


_STATISTICS: dict[str, Callable] = {"mean": _mean, "median": _median}


@functools.lru_cache(maxsize=8)
def _weights(clips: int) -> np.ndarray:
  """How often each clip was drawn, [1 + RESAMPLES, clips]; the first row: once each."""
  drawn = np.random.default_rng(0).integers(0, clips, (RESAMPLES, clips))
  places = drawn + clips * np.arange(RESAMPLES)[:, None]
  counts = np.bincount(places.ravel(), minlength=RESAMPLES * clips)
  return np.vstack([np.ones(clips), counts.reshape(RESAMPLES, clips)])


def interval(samples: Sequence[Sample], statistic: str = "mean") -> Interval | None:
  """The mean over samples (models) of each one's mean or median, with its interval.

  Samples share their clips: a clip is drawn for all of them. An empty sample is left
  out; None where all are.
  """
  samples = [sample for sample in samples if len(sample.values)]
  if not samples:
    return None
  names = dict.fromkeys(clip for sample in samples for clip in sample.clips)
  place = {clip: n for n, clip in enumerate(names)}
  weights = _weights(len(place))
  reduced = [
    _STATISTICS[statistic](
      np.asarray(sample.values, np.float64),
      weights[:, [place[clip] for clip in sample.clips]],
    )
    for sample in samples
  ]
  # a draw may hold no clip of one sample, never none of all
  found = np.nanmean(reduced, axis=0)
  ends = np.percentile(found[1:], [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
  return Interval(*map(float, (found[0], *ends)))
