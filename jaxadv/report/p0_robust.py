"""One perturbation through many transforms: those it was made for, and others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.report.figures import COLOURS, MARKS, save
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.intervals import Interval
from jaxadv.report.p0_rows import SEPARATOR, by_model, heard_right, transforms_of
from jaxadv.report.p1_draw import COLUMN_INCHES, PAGE_INCHES, STYLE
from jaxadv.report.p1_rows import INTERVALS, numbers
from jaxadv.report.summary import name

SEEN, HELD_OUT = "seen", "held out"
_LINE_INCHES = 0.2


class Attack(NamedTuple):
  """An attack that knew of no transform, or of a set. rows: with "fooled"."""

  name: str
  members: tuple[str, ...]
  snr_db: Interval | None
  rows: list[dict]


def is_robust(row: Mapping) -> bool:
  """Whether the row is of an attack that knew of a set of transforms."""
  return SEPARATOR in (row["through"] or "")


def attacks_of(rows: Sequence[dict]) -> list[Attack]:
  """The quietest first, and those that knew of no transform before the others."""
  groups: dict[str, list[dict]] = {}
  for row in heard_right(rows):
    if not row["through"] or is_robust(row):
      groups.setdefault(name(row), []).append(row)
  found = []
  for attack, some in groups.items():
    through = some[0]["through"]
    members = tuple(through.split(SEPARATOR)) if through else ()
    found.append(Attack(attack, members, numbers(by_model(some), "snr_db"), some))
  return sorted(found, key=lambda a: (-_level_db(a), len(a.members), a.name))


def _level_db(attack: Attack) -> int:
  """Attacks with one budget differ by less than a dB."""
  return round(attack.snr_db.value) if attack.snr_db else 0


def seen_by(attacks: Sequence[Attack], transform: str) -> str:
  """SEEN or HELD_OUT; where the sets differ, the attacks that knew of it."""
  robust = [attack for attack in attacks if attack.members]
  knew = [attack.name for attack in robust if transform in attack.members]
  if len(knew) in (0, len(robust)):
    return SEEN if knew else HELD_OUT
  return f"{SEEN} by {', '.join(knew)}"


def order(rows: Sequence[dict], attacks: Sequence[Attack]) -> list[str]:
  """The transforms, those that were seen first."""
  return sorted(transforms_of(rows), key=lambda t: seen_by(attacks, t) == HELD_OUT)


def in_all(attack: Attack, transforms: Sequence[str]) -> list[dict]:
  """A row per clip that is right, clean, after every one: is it "fooled" after all?"""
  by_clip: dict[tuple, list[dict]] = {}
  for row in attack.rows:
    if row["transform"] in transforms:
      by_clip.setdefault((row["model"], row["file"], row["target"]), []).append(row)
  return [
    some[0] | {"fooled": all(row["fooled"] for row in some)}
    for some in by_clip.values()
    if len(some) == len(transforms)
  ]


def table(rows: Sequence[dict]) -> Grid:
  """A line per transform, a column per attack; then after all that were seen."""
  attacks = attacks_of(rows)
  transforms = order(rows, attacks)
  lines: list[tuple[Cell, ...]] = []
  for transform in transforms:
    groups = [[r for r in a.rows if r["transform"] == transform] for a in attacks]
    lines.append((transform, seen_by(attacks, transform), *_shares(groups)))
  for kind in (SEEN, HELD_OUT):
    some = [
      t for t in transforms if (seen_by(attacks, t) != HELD_OUT) == (kind == SEEN)
    ]
    if len(some) > 1:
      shares = _shares([in_all(attack, some) for attack in attacks])
      lines.append((f"every one {kind}", "", *shares))
  columns = [Column("Transform"), Column("Made for it"), Column("Clips")]
  columns += [Column(_label(attack), "percent") for attack in attacks]
  caption = (
    "Success % after the transform: share of the clips that are classified right, "
    "clean and after the transform, whose adversarial is not, after it in numpy. "
    f"{SEEN}: the attacks with a set went through this transform in each step; "
    f"{HELD_OUT}: none did. every one: of the clips that are right, clean, after each "
    "of them, those that the same perturbation fools after each of them. "
    f"In the heads: mean SNR. Means over the models. {INTERVALS}."
  )
  title = "Robust adversarials: one perturbation, many transforms"
  return Grid(title, tuple(columns), lines, caption)


def _shares(groups: Sequence[Sequence[dict]]) -> list[Cell]:
  """Clips, and the share of them that each attack fooled."""
  clips: list[Cell] = [max(map(len, groups), default=0)]
  return clips + [numbers(by_model(some), "fooled") for some in groups]


def _label(attack: Attack) -> str:
  return f"{attack.name}, {_level_db(attack)} dB" if attack.snr_db else attack.name


def draw(path: Path, rows: Sequence[dict]) -> bool:
  """A panel per SNR: success after each transform, a mark per attack.

  False where there is nothing to draw: no clip is right after any transform.
  """
  attacks = attacks_of(rows)
  if not attacks:
    return False
  transforms = order(rows, attacks)
  levels = list(dict.fromkeys(map(_level_db, attacks)))
  sets = list(dict.fromkeys(attack.members for attack in attacks))
  seen = sum(seen_by(attacks, t) != HELD_OUT for t in transforms)
  with mpl.rc_context(STYLE):
    width = PAGE_INCHES if len(levels) > 1 else COLUMN_INCHES
    height = 0.9 + _LINE_INCHES * len(transforms)
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for axis, level in zip(axes, levels, strict=True):
      own = [attack for attack in attacks if _level_db(attack) == level]
      for attack in own:
        _draw_attack(axis, attack, transforms, sets.index(attack.members), len(sets))
      axis.axhline(seen - 0.5, color="black", linewidth=0.6)
      axis.set_title(f"SNR {level} dB")
      axis.set_xlim(-4, 104)
      axis.set_ylim(len(transforms) - 0.4, -0.6)
      axis.set_yticks(range(len(transforms)), transforms)
      axis.tick_params(axis="y", length=0)
      axis.grid(axis="x", linewidth=0.4, alpha=0.5)
      axis.set_xlabel("success after the transform (%)")
    for place, kind in (
      (seen / 2 - 0.5, SEEN),
      ((seen + len(transforms) - 1) / 2, HELD_OUT),
    ):
      axes[-1].text(
        1.02,
        place,
        kind,
        transform=axes[-1].get_yaxis_transform(),
        rotation=270,
        va="center",
      )
    handles = {}
    for axis in axes:
      marks, labels = axis.get_legend_handles_labels()
      handles |= dict(zip(labels, marks, strict=True))
    columns = len(handles)
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=columns)
    save(figure, path)
  return True


def _draw_attack(
  axis: Axes, attack: Attack, transforms: Sequence[str], number: int, count: int
) -> None:
  shift = 0.3 * (number - (count - 1) / 2) / max(1, count - 1)
  for place, transform in enumerate(transforms):
    some = [row for row in attack.rows if row["transform"] == transform]
    if not (rate := numbers(by_model(some), "fooled")):
      continue
    value, low, high = 100 * np.array(rate)
    axis.errorbar(
      value,
      place + shift,
      xerr=[[value - low], [high - value]],
      color=COLOURS[number % len(COLOURS)],
      marker=MARKS[number % len(MARKS)],
      markersize=4,
      elinewidth=0.7,
      linestyle="none",
      label=_set_name(attack),
    )


def _set_name(attack: Attack) -> str:
  if not attack.members:
    return "knew of none"
  return f"knew of {', '.join(attack.members)}"
