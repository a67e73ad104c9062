"""P1's figures drawn: numbers in, a PNG and a PDF out, at their printed size.

They are one column or one page wide, in the run page's colours; nothing is set below
7 pt.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxadv.report.figures import COLOURS, PAGE_STYLE, save, shorten

COLUMN_INCHES, PAGE_INCHES = 3.5, 7.16  # of a two-column paper
STYLE: dict[Any, Any] = PAGE_STYLE | {
  "font.size": 8,
  "axes.titlesize": 8,
  "axes.labelsize": 8,
  "xtick.labelsize": 7,
  "ytick.labelsize": 7,
  "legend.fontsize": 7,
}
_LINE_INCHES = 0.115  # between two names of 7 pt
_LETTER_INCHES = 0.057
_PANEL_INCHES = 0.95
_CELL_INCHES = 0.22  # room for "100"
_MOST_NAMES = 60  # of a histogram: a page's height
_MOST_NUMBERS = 20  # classes of a matrix with a number in each cell
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def wrap(name: str, most: int) -> str:
  """An attack's name in lines of at most `most` letters, broken after _ or a space."""
  lines = [""]
  for piece in name.replace("_", "_\n").replace(" ", " \n").split("\n"):
    if lines[-1] and len(lines[-1] + piece.rstrip()) > most:
      lines.append("")
    lines[-1] += piece
  return "\n".join(shorten(line.rstrip(), most) for line in lines)


def _panels(count: int, most: int) -> tuple[int, int]:
  """Rows and columns of `count` panels, at most `most` beside one another."""
  rows = math.ceil(count / most)
  return rows, math.ceil(count / rows)


def _names_width(names: Sequence[str]) -> float:
  return _LETTER_INCHES * max(map(len, names), default=0)


def _name_rows(axis: Axes, names: Sequence[str]) -> None:
  axis.set_yticks(range(len(names)), names)
  axis.set_ylim(len(names) - 0.4, -0.6)
  axis.tick_params(axis="y", length=0)
  axis.grid(axis="x", linewidth=0.4, alpha=0.5)
  axis.set_axisbelow(True)


def draw_counts(
  path: Path, counts: Mapping[str, Sequence[int]], classes: Sequence[str]
) -> None:
  """A histogram of classes per attack, the classes downwards.

  counts: attack -> how often each class. Of more than 60 classes the most frequent.
  """
  total = np.sum([*counts.values()], axis=0)
  kept: list[int] = sorted(np.argsort(-total, kind="stable")[:_MOST_NAMES].tolist())
  names = [shorten(classes[n], 24) for n in kept]
  rows, columns = _panels(len(counts), 6)
  with mpl.rc_context(STYLE):
    width = 0.3 + _names_width(names) + _PANEL_INCHES * columns
    width = min(PAGE_INCHES, max(COLUMN_INCHES, width))
    size = (width, rows * (0.9 + _LINE_INCHES * len(names)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(counts) :]:
      axis.set_axis_off()
    for n, (axis, (attack, heights)) in enumerate(
      zip(axes.flat, counts.items(), strict=False)
    ):
      shown = [heights[k] for k in kept]
      axis.barh(range(len(names)), shown, 0.75, color=COLOURS[n % len(COLOURS)])
      axis.set_title(f"{wrap(attack, 15)}\nn = {sum(heights)}")
      axis.set_xlim(0, 1.08 * max([1, *shown]))
      axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
      _name_rows(axis, names)
    figure.supxlabel("clips with this new label", fontsize=8)
    save(figure, path)


Matrix = Mapping[tuple[str, str], float | None]


def draw_matrices(
  path: Path,
  matrices: Mapping[str, tuple[Matrix, Matrix]],
  labels: Sequence[str],
  targets: Sequence[str],
) -> None:
  """Per attack its success (fractions) and its SNR (dB), true class x target.

  The two are beside one another where a page is wide enough. Numbers are in the cells
  of up to 20 classes; of more, a colour bar says them.
  """
  numbered = len(targets) <= _MOST_NUMBERS
  cell = _CELL_INCHES if numbered else _LINE_INCHES
  margin = 0.45 + _names_width([shorten(name, 20) for name in (*labels, *targets)])
  panel = 0.1 + cell * len(targets) + 0.6 * (not numbered)
  columns = 2 if margin + 2 * panel <= PAGE_INCHES else 1
  rows = 2 * len(matrices) // columns
  width, height = margin + columns * panel, margin + rows * (0.5 + cell * len(labels))
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(max(width, COLUMN_INCHES), height), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    snrs = [v for _, snr in matrices.values() for v in snr.values() if v is not None]
    ranges = (0, 100), (min(snrs, default=0) - 1, max(snrs, default=1) + 1)
    for n, (attack, pair) in enumerate(matrices.items()):
      for m, (matrix, factor, unit, colours) in enumerate(
        zip(
          pair, (100, 1), ("success, %", "SNR, dB"), ("Blues", "Oranges"), strict=True
        )
      ):
        axis = axes.flat[2 * n + m]
        values = [[matrix.get((a, b)) for b in targets] for a in labels]
        scaled = factor * np.array(values, np.float64)
        image = _draw_matrix(axis, scaled, labels, targets, colours, ranges[m])
        axis.set_title(f"{wrap(attack, 24)}\n{unit}")
        if not numbered:
          bar = figure.colorbar(image, ax=axis, fraction=0.04, aspect=28, pad=0.02)
          bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    for axis in axes[-1]:
      axis.set_xlabel("target")
    for axis in axes[:, 0]:
      axis.set_ylabel("true class")
    save(figure, path)


def _draw_matrix(axis: Axes, values: np.ndarray, labels, targets, colours, limits):
  low, high = limits
  image = axis.imshow(values, cmap=colours, vmin=low, vmax=high)
  own = [[np.nan if a != b else 1.0 for b in targets] for a in labels]
  axis.imshow(np.array(own), cmap="Greys", vmin=0, vmax=4)
  axis.set_xticks(range(len(targets)), [shorten(t, 20) for t in targets], rotation=90)
  axis.set_yticks(range(len(labels)), [shorten(t, 20) for t in labels])
  axis.tick_params(length=0)
  axis.spines[:].set_visible(True)
  if len(targets) <= _MOST_NUMBERS:
    for (i, j), value in np.ndenumerate(values):
      if not np.isnan(value):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55  # luma, BT.601
        colour = "white" if dark else "black"
        axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, size=7)
  return image


def draw_survival(
  path: Path,
  levels_db: np.ndarray,
  curves: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Share fooled at an SNR or above it: a panel per attack, a curve per model.

  curves: attack -> model -> share, low and high end [levels, 3].
  """
  models = list(dict.fromkeys(model for shown in curves.values() for model in shown))
  rows, columns = _panels(len(curves), 2)
  size = (COLUMN_INCHES, 0.6 + 1.45 * rows + 0.15 * math.ceil(len(models) / 2))
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(curves) :]:
      axis.set_axis_off()
    handles = {}
    for axis, (attack, shown) in zip(axes.flat, curves.items(), strict=False):
      for model, ends in shown.items():
        n = models.index(model)
        colour, line = COLOURS[n % len(COLOURS)], _LINES[n % len(_LINES)]
        share, low, high = 100 * ends.T
        axis.fill_between(levels_db, low, high, color=colour, alpha=0.15, linewidth=0)
        drawn = axis.plot(levels_db, share, color=colour, linestyle=line, linewidth=1.2)
        handles[model] = drawn[0]
      axis.set_title(wrap(attack, 20))
      axis.grid(linewidth=0.4, alpha=0.5)
      axis.tick_params(labelbottom=True)
    axes[0, 0].set_xlim(levels_db[-1], levels_db[0])
    axes[0, 0].set_ylim(-2, 102)
    figure.supxlabel("at an SNR of at least (dB)", fontsize=8)
    figure.supylabel("clips fooled (%)", fontsize=8)
    named = [shorten(model, 24) for model in handles]
    figure.legend(
      [*handles.values()], named, loc="outside upper center", ncols=2, frameon=False
    )
    save(figure, path)


def draw_bars(
  path: Path,
  title: str,
  names: Sequence[str],
  panels: Mapping[str, Sequence[tuple[float, float, float]]],
) -> None:
  """Bars with intervals, the names downwards.

  panels: axis label -> value, low and high end of each.
  """
  names = [shorten(name, 30) for name in names]
  with mpl.rc_context(STYLE):
    size = (COLUMN_INCHES, 0.7 + _LINE_INCHES * max(4, len(names)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (label, values), colour in zip(
      axes, panels.items(), COLOURS, strict=False
    ):
      value, low, high = np.array(values).T
      ends = np.maximum(0, np.stack([value - low, high - value]))
      axis.barh(
        range(len(names)),
        value,
        0.75,
        color=colour,
        alpha=0.75,
        xerr=ends,
        error_kw={"linewidth": 0.8, "ecolor": "black"},
      )
      axis.set_xlabel(label)
      axis.set_xlim(left=0)
      axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
      _name_rows(axis, names)
    figure.suptitle(title, fontsize=8)
    save(figure, path)
