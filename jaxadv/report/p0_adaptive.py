"""Do defences stand? Attacks that knew of a transform beside those that did not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from jaxadv.report.figures import COLOURS, save
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.intervals import Interval
from jaxadv.report.p0_rows import only, transforms_of
from jaxadv.report.p1_draw import COLUMN_INCHES, PAGE_INCHES, STYLE
from jaxadv.report.p1_rows import INTERVALS, numbers
from jaxadv.report.summary import name

PLAIN, ADAPTIVE = "plain", "adaptive"
_PER_ROW = 4


def compared(rows: Sequence[dict]) -> dict[tuple[str, str], dict[str, list[dict]]]:
  """(transform, PLAIN or ADAPTIVE) -> attack -> rows after that transform.

  Only transforms that an attack knew of, and clips that are still classified right
  after the transform when clean; "fooled" is added: another label, or the target.
  """
  clean = {
    (row["model"], row["file"], row["transform"])
    for row in rows
    if row["attack"] == "clean" and row["transformed_label"] == row["label"]
  }
  known = {row["through"] for row in rows} - {None}
  found: dict[tuple[str, str], dict[str, list[dict]]] = {}
  for transform in transforms_of(row for row in rows if row["transform"] in known):
    for row in only(rows, transform):
      if row["through"] not in (None, transform) or row["attack"] == "clean":
        continue
      if (row["model"], row["file"], transform) not in clean:
        continue
      wanted = row["target"]
      fooled = (
        row["transformed_label"] == wanted
        if wanted is not None
        else row["transformed_label"] != row["label"]
      )
      key = (transform, ADAPTIVE if row["through"] else PLAIN)
      found.setdefault(key, {}).setdefault(name(row), []).append(
        row | {"fooled": fooled}
      )
  return found


def table(rows: Sequence[dict]) -> Grid:
  """Success after each transform, of plain and adaptive attacks, louder ones last."""
  lines: list[tuple[Cell, ...]] = []
  for (transform, kind), attacks in compared(rows).items():
    points = [(attack, *_point(some), len(some)) for attack, some in attacks.items()]
    for attack, snr, rate, count in sorted(points, key=lambda p: -_value(p[1])):
      lines.append((transform, kind, attack, count, snr, rate))
  columns = (
    *(Column("Transform"), Column("Number"), Column("Attack"), Column("Clips")),
    *(Column("SNR mean dB", "db"), Column("Success %", "percent")),
  )
  caption = (
    "Success after the transform: share of the clips that are classified right, clean "
    "and after the transform, whose adversarial is not, after the transform in numpy. "
    "plain: the attack did not know of it; adaptive: it attacked through it. SNR: of "
    f"all these adversarials. {INTERVALS}."
  )
  return Grid("Adaptive attacks: do the defences stand?", columns, lines, caption)


def _point(rows: Sequence[dict]) -> tuple[Interval | None, Interval | None]:
  return numbers([rows], "snr_db"), numbers([rows], "fooled")


def _value(interval: Interval | None) -> float:
  return interval.value if interval else 0.0


def draw(path: Path, rows: Sequence[dict]) -> None:
  """A panel per transform: success after it against the SNR, plain and adaptive."""
  found = compared(rows)
  transforms = list(dict.fromkeys(transform for transform, _ in found))
  across = min(_PER_ROW, len(transforms))
  down = -(-len(transforms) // _PER_ROW)
  with mpl.rc_context(STYLE):
    width = PAGE_INCHES if across > 2 else COLUMN_INCHES
    figure = Figure((width, 0.5 + 1.55 * down), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(transforms) :]:
      axis.set_visible(False)
    for axis, transform in zip(axes.flat, transforms, strict=False):
      for kind, colour, mark in ((PLAIN, COLOURS[0], "o"), (ADAPTIVE, COLOURS[1], "s")):
        _curve(axis, found.get((transform, kind), {}), kind, colour, mark)
      axis.set_title(transform)
      axis.set_ylim(-4, 104)
      axis.grid(linewidth=0.4, alpha=0.5)
    figure.supxlabel("SNR (dB)", fontsize=8)
    figure.supylabel("success after the transform (%)", fontsize=8)
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2)
    save(figure, path)


def _curve(axis, attacks: Mapping[str, list[dict]], kind, colour, mark) -> None:
  points = sorted(
    (snr.value, rate) for snr, rate in map(_point, attacks.values()) if snr and rate
  )
  shares = [100 * rate.value for _, rate in points]
  below = [100 * (rate.value - rate.low) for _, rate in points]
  above = [100 * (rate.high - rate.value) for _, rate in points]
  axis.errorbar(
    [snr for snr, _ in points],
    shares,
    yerr=[below, above],
    color=colour,
    marker=mark,
    markersize=3.5,
    linewidth=1.2,
    elinewidth=0.7,
    linestyle="-" if kind == PLAIN else "--",
    label=kind,
  )
