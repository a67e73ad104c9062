"""Rows of the comparison as tables: everyone, and ours against the best of the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.report.tables import MISSING, Table

KEYS = ("victim", "attack", "library", "variant")
_OURS = "jaxadv"
_MEDIAN_ALLOWED = 1.01
_SUCCESS_ALLOWED = 1e-9
_COLUMNS = (
  *("Attack", "norm", "budget", "library", "its name", "success %", "median", "mean"),
  *("forward", "backward", "seconds", "success vs ours", "median vs ours", "note"),
)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
  """success [0, 1], median (a failure counts as infinite) and mean over successes."""
  success, size = np.array(row["success"]), np.array(row["size"])
  return {
    "success": float(success.mean()),
    "median": float(np.median(np.where(success, size, np.inf))),
    "mean": float(size[success].mean()) if success.any() else float("inf"),
  }


def budget(row: Mapping[str, Any]) -> str:
  """What the attack may spend, as the config says it."""
  if "radius" not in row:
    return "smallest"
  return f"{row['radius']:g}" + (" dB" if row.get("budget") == "snr_db" else "")


def _note(row):
  notes = []
  if row["outside"]:
    over = row["largest"] / row["limit"]
    notes.append(
      f"{row['outside']} clips outside (size up to {over:.4g} of the radius)"
    )
  if row["not_finite"]:
    notes.append(f"{row['not_finite']} clips not finite")
  return "; ".join(notes)


def _short(value):
  return MISSING if not np.isfinite(value) else f"{value:.4g}"


def line(row: Mapping[str, Any]) -> str:
  """One row for the terminal, as it comes."""
  head = f"{row['victim']} {row['attack']} {row['library']} {row['variant']}: "
  if "error" in row:
    return head + row["error"]
  found = numbers(row)
  return head + (
    f"success {found['success']:.1%}, median {_short(found['median'])}, "
    f"{row['forward']:.0f} forward, {row['backward']:.0f} backward, "
    f"{row['seconds']:.1f} s {_note(row)}"
  )


def _cells(row, ours):
  head = (row["attack"], row["norm"], budget(row), row["library"], row["variant"])
  if "error" in row:
    return (*head, *[MISSING] * 8, row["error"])
  found = numbers(row)
  versus = [MISSING, MISSING]
  if ours and row is not ours:
    base = numbers(ours)
    versus[0] = f"{100 * (found['success'] - base['success']):+.1f}"
    if "radius" not in row and np.isfinite(found["median"]):
      versus[1] = f"{found['median'] / base['median']:.3f}"
  return (
    *head,
    f"{100 * found['success']:.1f}",
    _short(found["median"]),
    _short(found["mean"]),
    f"{row['forward']:.1f}",
    f"{row['backward']:.1f}",
    f"{row['seconds']:.1f}",
    *versus,
    _note(row),
  )


def in_full(rows: Sequence[Mapping[str, Any]]) -> Table:
  """All rows of all victims, for the CSV."""
  return Table(
    "All",
    ("victim", *_COLUMNS),
    [(row["victim"], *_cells(row, _ours_of(row, rows))) for row in _sorted(rows)],
    "",
  )


def make(rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> list[Table]:
  """Two tables for each victim."""
  made = []
  for victim in dict.fromkeys(row["victim"] for row in rows):
    some = _sorted(row for row in rows if row["victim"] == victim)
    clips = len(some[0]["files"])
    caption = (
      f"{clips} clips, all right when clean and of one loudness. Success: judged by us "
      "on the array that came back; median and mean: of its distance in the attack's "
      "norm, a failure counting as infinite in the median, not at all in the mean. "
      "Forward, backward: passes per clip. Seconds: all clips, from call to return, "
      "without compilation (ours) and after a first pass (theirs). Vs ours: success in "
      "points, median as a ratio. " + ". ".join(notes)
    )
    cells = [_cells(row, _ours_of(row, some)) for row in some]
    made.append(Table(f"{victim}: all attacks", _COLUMNS, cells, caption))
    made.append(_against_the_best(victim, some))
  return made


def _sorted(rows):
  rows = list(rows)
  names = list(dict.fromkeys((row["victim"], row["attack"]) for row in rows))
  order = lambda row: names.index((row["victim"], row["attack"]))  # noqa: E731
  return sorted(rows, key=lambda row: (order(row), row["library"] != _OURS))


def _ours_of(row, rows):
  for other in rows:
    same = all(other[key] == row[key] for key in ("victim", "attack"))
    if same and other["library"] == _OURS and "error" not in other:
      return other
  return None


def _rank(row):
  """Best first: success, then the median where it is what counts, then cost."""
  found = numbers(row)
  median = found["median"] if "radius" not in row else 0.0
  return -found["success"], median, row["backward"], row["forward"]


def _against_the_best(victim, rows):
  """One line for each attack that both sides have; peers that left the ball are out."""
  lines = []
  for name in dict.fromkeys(row["attack"] for row in rows):
    some = [row for row in rows if row["attack"] == name and "error" not in row]
    ours = next((row for row in some if row["library"] == _OURS), None)
    rest = [row for row in some if row["library"] != _OURS and not row["outside"]]
    if ours is None or not rest:
      continue
    lines.append(_verdict(name, ours, min(rest, key=_rank)))
  return Table(
    f"{victim}: ours against the best peer",
    (
      *("Attack", "budget", "best peer", "success %", "its success %", "median"),
      *("its median", "ratio", "backward", "its backward", "goal"),
    ),
    lines,
    "Best: of highest success, then of smallest median, then of fewest passes. Goal: "
    "success no lower, median at most 1% above (without a budget), no more backward "
    "passes; what is missed is named.",
  )


def _verdict(name, ours, best):
  mine, its = numbers(ours), numbers(best)
  missed = []
  if mine["success"] < its["success"] - _SUCCESS_ALLOWED:
    missed.append("success")
  if "radius" not in ours and mine["median"] > _MEDIAN_ALLOWED * its["median"]:
    missed.append("median")
  if ours["backward"] > best["backward"] + 1e-9:
    missed.append("gradients")
  return (
    name,
    budget(ours),
    f"{best['library']} {best['variant']}",
    f"{100 * mine['success']:.1f}",
    f"{100 * its['success']:.1f}",
    _short(mine["median"]),
    _short(its["median"]),
    _short(mine["median"] / its["median"]) if "radius" not in ours else MISSING,
    f"{ours['backward']:.1f}",
    f"{best['backward']:.1f}",
    f"misses {', '.join(missed)}" if missed else "holds",
  )
