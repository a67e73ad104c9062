"""A universal perturbation's table and figure: what it looks like and whom it fools."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxadv.report import spectrogram
from jaxadv.report.figures import (
  COLOUR_MAP,
  COLOURS,
  PAGE_STYLE,
  PERTURBATION_RANGE_DB,
  save,
)
from jaxadv.report.grid import Column, Grid
from jaxadv.report.intervals import Interval, Sample, interval

Rows = Sequence[Mapping[str, Any]]  # of test.csv


def right(rows: Rows) -> Rows:
  """Of the clips that were classified right without it: what every rate is over."""
  return [row for row in rows if row["clean"] == row["label"]]


def fooled(row: Mapping[str, Any], voice: str, target: str = "") -> bool:
  """Whether the victim, hearing "universal" or "noise", says the target, or anything
  but the label."""
  return row[voice] == target if target else row[voice] != row["label"]


def rate(rows: Rows, voice: str, target: str = "") -> Interval | None:
  """Share fooled of the clips that were right, with its bootstrap interval."""
  some = right(rows)
  values = [float(fooled(row, voice, target)) for row in some]
  return interval([Sample(values, [row["id"] for row in some])])


def mean_snr(rows: Rows) -> Interval | None:
  """Mean SNR in dB of the clips that were right and to which anything was added."""
  some = [row for row in right(rows) if np.isfinite(row["snr_db"])]
  values = [row["snr_db"] for row in some]
  return interval([Sample(values, [row["id"] for row in some])])


_COLUMNS = (
  Column("Model"),
  Column("Clips"),
  Column("Right"),
  Column("Fooled %", "percent"),
  Column("Noise fools %", "percent"),
  Column("SNR mean dB", "db"),
  Column("SNR lowest dB", "db"),
)


def table(tested: Mapping[str, Rows], trained_on: str, target: str, said: str) -> Grid:
  """A row for each victim. tested: name -> rows. said: what ends the caption."""
  rows = [
    (
      f"{name} (trained on)" if name == trained_on else name,
      len(some),
      len(right(some)),
      rate(some, "universal", target),
      rate(some, "noise", target),
      mean_snr(some),
      min((row["snr_db"] for row in right(some)), default=None),
    )
    for name, some in tested.items()
  ]
  goal = f"classified as {target}" if target else "no longer classified right"
  caption = (
    f"Fooled: share {goal}, of the clips that were right without it, with 95% "
    "bootstrap intervals over clips, judged at full precision. Noise: white, at the "
    f"SNR that each clip has with the perturbation. {said}"
  )
  return Grid("Universal perturbation", _COLUMNS, rows, caption)


def draw(path: Path, u: np.ndarray, history: Rows, rate_hz: int, target: str) -> None:
  """The perturbation's waveform and spectrogram, and whom it fooled epoch by epoch."""
  with mpl.rc_context(PAGE_STYLE):
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    wave, spectrum, epochs = figure.subplots(1, 3)
    seconds = np.arange(len(u)) / rate_hz
    wave.plot(seconds, u, color=COLOURS[0], linewidth=0.3)
    wave.set_xlabel("time (s)")
    wave.set_ylabel("perturbation")
    wave.set_xlim(0, seconds[-1])
    image = _draw_spectrum(spectrum, u, rate_hz)
    bar = figure.colorbar(image, ax=spectrum, fraction=0.05, aspect=22, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label("level below the peak (dB)")
    _draw_history(epochs, history, target)
    save(figure, path)


def _draw_spectrum(axis: Axes, u: np.ndarray, rate_hz: int):
  level = spectrogram.level_db(u)
  axis.set_xlabel("time (s)")
  axis.set_ylabel("frequency (kHz)")
  return axis.imshow(
    level - level.max(),
    origin="lower",
    aspect="auto",
    extent=(0, len(u) / rate_hz, 0, rate_hz / 2000),
    cmap=COLOUR_MAP,
    vmin=-PERTURBATION_RANGE_DB,
    vmax=0,
  )


def _draw_history(axis: Axes, history: Rows, target: str) -> None:
  names = {
    "train_fooled": "training chunks, as heard",
    "test_fooled": "test clips once right",
  }
  for (key, name), colour in zip(names.items(), COLOURS, strict=False):
    known = [(row["epoch"], row[key]) for row in history if row[key] is not None]
    percent = [100 * value for _, value in known]
    epochs = [epoch for epoch, _ in known]
    axis.plot(epochs, percent, marker=".", color=colour, linewidth=1.4, label=name)
  axis.set_xlabel("epoch")
  axis.set_ylabel(f"classified as {target} (%)" if target else "classified wrong (%)")
  axis.set_ylim(-2, 102)
  axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  axis.grid(linewidth=0.4, alpha=0.5)
  axis.legend(loc="best", frameon=False)
