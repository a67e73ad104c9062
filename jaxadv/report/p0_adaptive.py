"""Do defences stand? Attacks that knew of a transform beside those that did not."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxadv.report.figures import COLOURS, MARKS, save
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.intervals import Interval
from jaxadv.report.p0_rows import by_model, heard_right, transforms_of
from jaxadv.report.p1_draw import COLUMN_INCHES, PAGE_INCHES, STYLE
from jaxadv.report.p1_rows import INTERVALS, numbers
from jaxadv.report.summary import name

PLAIN, ADAPTIVE = "plain", "adaptive"
_PER_ROW = 3
_COLOURS = {PLAIN: COLOURS[0], ADAPTIVE: COLOURS[1]}


class Point(NamedTuple):
  """What one attack reached after one transform. snr_db: None: no finite one."""

  transform: str
  method: str
  kind: str  # PLAIN or ADAPTIVE
  attack: str
  clips: int
  snr_db: Interval | None
  success: Interval | None


def points(rows: Sequence[dict]) -> list[Point]:
  """Every attack after the transforms that some attack knew of.

  By transform, method and SNR, the quietest first, and PLAIN before ADAPTIVE.
  """
  known = {row["through"] for row in rows} - {None}
  groups: dict[tuple[str, str, str, str], list[dict]] = {}
  for row in heard_right(rows):
    transform, through = row["transform"], row["through"]
    if transform in known and through in (None, transform):
      kind = ADAPTIVE if through else PLAIN
      groups.setdefault((transform, row["method"], kind, name(row)), []).append(row)
  found = [
    Point(*key, len(some), *(numbers(by_model(some), n) for n in ("snr_db", "fooled")))
    for key, some in groups.items()
  ]
  transforms = transforms_of(rows)
  methods = _methods(found)

  def place(point):
    # attacks with one budget differ by less than a dB
    snr_db = round(point.snr_db.value) if point.snr_db else 0
    rank = transforms.index(point.transform), methods.index(point.method)
    return *rank, -snr_db, point.kind == ADAPTIVE

  return sorted(found, key=place)


def _methods(found: Iterable[Point]) -> list[str]:
  """Those with most attacks first: they have a curve."""
  attacks = {point.method: set() for point in found}
  for point in found:
    attacks[point.method].add(point.attack)
  return sorted(attacks, key=lambda method: -len(attacks[method]))


def table(rows: Sequence[dict]) -> Grid:
  """Success after each transform, of plain and adaptive attacks, louder ones last."""
  lines: list[tuple[Cell, ...]] = [
    (p.transform, p.method, p.kind, p.attack, p.clips, p.snr_db, p.success)
    for p in points(rows)
  ]
  columns = (
    *(Column("Transform"), Column("Method"), Column("Knowledge"), Column("Attack")),
    *(Column("Clips"), Column("SNR mean dB", "db"), Column("Success %", "percent")),
  )
  caption = (
    "Success after the transform: share of the clips that are classified right, clean "
    "and after the transform, whose adversarial is not, after the transform in numpy. "
    "plain: the attack did not know of it; adaptive: it attacked through it. SNR: of "
    f"all these adversarials. Means over the models. {INTERVALS}."
  )
  return Grid("Adaptive attacks: do the defences stand?", columns, lines, caption)


def draw(path: Path, rows: Sequence[dict]) -> bool:
  """A panel per transform: success after it against the SNR, plain and adaptive.

  The method with most attacks is a curve, the others are points. False where there is
  nothing to draw: no clip is right after a transform that an attack knew of.
  """
  found = points(rows)
  if not found:
    return False
  methods = _methods(found)
  transforms = list(dict.fromkeys(point.transform for point in found))
  across = min(_PER_ROW, len(transforms))
  down = -(-len(transforms) // _PER_ROW)
  with mpl.rc_context(STYLE):
    width = PAGE_INCHES if across > 2 else COLUMN_INCHES
    figure = Figure((width, 0.8 + 1.7 * down), layout="constrained")
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(transforms) :]:
      axis.set_visible(False)
    for axis in axes.flat[max(0, len(transforms) - across) : len(transforms)]:
      axis.tick_params(labelbottom=True)  # the lowest of each column
    for axis, transform in zip(axes.flat, transforms, strict=False):
      own = [point for point in found if point.transform == transform]
      for n, method in enumerate(methods):
        for kind in (PLAIN, ADAPTIVE):
          some = [p for p in own if (p.method, p.kind) == (method, kind)]
          _draw_points(axis, some, _style(kind, n))
      clips = max(point.clips for point in own)
      axis.set_title(f"{transform}, {clips} clips")
      axis.set_ylim(-4, 104)
      axis.grid(linewidth=0.4, alpha=0.5)
    axes.flat[0].invert_xaxis()  # louder to the right, in all panels
    figure.supxlabel("SNR (dB)", fontsize=8)
    figure.supylabel("success after the transform (%)", fontsize=8)
    handles = [
      Line2D([], [], label=f"{method}, {kind}", **_style(kind, n))
      for n, method in enumerate(methods)
      for kind in (PLAIN, ADAPTIVE)
    ]
    beside = 4 if across > 2 else 2  # a column has no room for more
    figure.legend(handles=handles, loc="outside upper center", ncols=beside)
    save(figure, path)
  return True


def _style(kind: str, method: int) -> dict:
  line = ("-" if kind == PLAIN else "--") if method == 0 else "none"
  return {
    "color": _COLOURS[kind],
    "marker": MARKS[method % len(MARKS)],
    "markersize": 3.5 if method == 0 else 5,
    "markerfacecolor": "white" if method else _COLOURS[kind],
    "linestyle": line,
    "linewidth": 1.2,
  }


def _draw_points(axis: Axes, some: Sequence[Point], style: Mapping) -> None:
  shown = [(p.snr_db.value, p.success) for p in some if p.snr_db and p.success]
  if not shown:
    return
  ends = [
    [100 * (rate.value - rate.low) for _, rate in shown],
    [100 * (rate.high - rate.value) for _, rate in shown],
  ]
  axis.errorbar(
    [snr_db for snr_db, _ in shown],
    [100 * rate.value for _, rate in shown],
    yerr=ends,
    elinewidth=0.6,
    **style,
  )
