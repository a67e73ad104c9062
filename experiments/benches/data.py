"""Clips per second that the numpy stage decodes, resamples and pads into buckets.

Beside it `librosa.load` of the same files in a loop, at the same rate.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import librosa
import numpy as np

from benches.timing import Measured, bars, machine
from jaxadv import build, data
from jaxadv.report.tables import Table


def run(settings: Mapping[str, Any]) -> Measured:
  """One row for each way to read the clips."""
  dataset = build.dataset(settings["data"], settings["data"]["split"])
  clips = list(dataset.clips)[: settings["clips"]]

  def ours(threads, processes):
    def read():
      for _, some in data.by_bucket(clips):
        options = {"threads": threads, "processes": processes}
        yield from data.load(some, **options)

    return lambda: sum(one.samples for one in read())

  def peer():
    return sum(len(librosa.load(c.path, sr=32000, mono=True)[0]) for c in clips)

  ways: dict[str, Callable[[], int]] = {"librosa.load in a loop": peer}
  for threads in (1, 2, 4, 8):
    ways[f"ours, {threads} threads"] = ours(threads, 0)
  ways["ours, 2 processes of 4 threads"] = ours(4, 2)
  took, heard = measure(ways, settings["repeats"])
  slowest = took["librosa.load in a loop"]
  rates = {name: len(clips) / seconds for name, seconds in took.items()}
  rows = []
  for name in ways:
    seconds_of_sound = heard[name] / 32000 / took[name]
    cells = (f"{rates[name]:.1f}", f"{seconds_of_sound:.0f}")
    rows.append((name, *cells, f"{slowest / took[name]:.2f}"))
  table = Table(
    f"{len(clips)} clips of {settings['data']['root']}, to 32 kHz and whole chunks",
    ("way", "clips per second", "seconds of sound per second", "times librosa"),
    rows,
    f"{machine()}; medians of {settings['repeats']}, in turn, files in the page cache",
  )
  return Measured(table, bars(rates, "clips per second"))


def measure(ways: Mapping[str, Callable[[], int]], repeats: int):
  """(median seconds, samples heard) of each, in turn, after a warm-up of one."""
  seconds: dict[str, list[float]] = {name: [] for name in ways}
  heard = {}
  next(iter(ways.values()))()
  for _ in range(repeats):
    for name, way in ways.items():
      began = time.perf_counter()
      heard[name] = way()
      seconds[name].append(time.perf_counter() - began)
  return {name: float(np.median(some)) for name, some in seconds.items()}, heard
