"""Medians of what is timed in turn, and the machine they hold for."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxadv import record
from jaxadv.report.figures import COLOURS
from jaxadv.report.p1_draw import PAGE_INCHES
from jaxadv.report.tables import Table


def interleaved(
  timed: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, float]:
  """Median seconds of each, taken in turn, each time after one that is not timed.

  What ran before would count otherwise: a step after DeepFool's takes a fifth longer.
  """
  seconds: dict[str, list[float]] = {name: [] for name in timed}
  for _ in range(repeats):
    for name, function in timed.items():
      jax.block_until_ready(function())
      began = time.perf_counter()
      jax.block_until_ready(function())
      seconds[name].append(time.perf_counter() - began)
  return {name: float(np.median(some)) for name, some in seconds.items()}


def machine() -> str:
  """Device, cores and libraries, so that a number can be quoted."""
  kind = jax.local_devices()[0].device_kind
  said = f"{kind} ({os.cpu_count()} cores, {platform.machine()})"
  return f"{said}; {record.versions()}"


class Measured(NamedTuple):
  """A table, and a function that draws it on a figure."""

  table: Table
  draw: Callable[[Figure], None]


def bars(values: Mapping[str, float], axis: str, goal: float | None = None):
  """A function that draws a bar for each value, and a line where the goal is."""

  def draw(figure: Figure) -> None:
    figure.set_size_inches(PAGE_INCHES, 0.7 + 0.17 * len(values))
    axes = figure.subplots()
    names = list(values)
    axes.barh(names[::-1], [values[name] for name in names[::-1]], color=COLOURS[0])
    if goal is not None:
      axes.axvline(goal, color=COLOURS[1], linewidth=1, linestyle="--")
    axes.set_xlabel(axis)

  return draw
