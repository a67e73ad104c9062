"""What P0's tables have in common: rows by transform, model, attack; three shares."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxadv.report import papers
from jaxadv.report.intervals import Interval
from jaxadv.report.p1_rows import numbers
from jaxadv.report.summary import name

SEPARATOR = " + "  # between the transforms of a set that an attack knew of
# attacks and models are averaged, not pooled: each of them counts alike
Cells = Mapping[tuple[str, str], Sequence[dict]]


class Split(NamedTuple):
  """Shares of adversarials whose label, after a transform, is ..."""

  adversarial: Interval | None
  true: Interval | None
  other: Interval | None


def split(groups: Iterable[Sequence[dict]]) -> Split:
  """The three shares: means over the groups of each one's share."""
  judged = [
    [
      row
      | {
        "is_adv": row["transformed_label"] == row["new_label"],
        "is_true": row["transformed_label"] == row["label"],
        "is_other": row["transformed_label"] not in (row["new_label"], row["label"]),
      }
      for row in rows
    ]
    for rows in groups
  ]
  return Split(*(numbers(judged, field) for field in ("is_adv", "is_true", "is_other")))


def transforms_of(rows: Iterable[dict]) -> list[str]:
  """The transforms' names, P0's first and in its order."""
  names = dict.fromkeys(row["transform"] for row in rows)
  return papers.in_order(names, papers.P0_TRANSFORMS, lambda transform: transform)


def cells_of(rows: Iterable[dict]) -> dict[tuple[str, str], list[dict]]:
  """(model, attack as printed) -> rows."""
  found: dict[tuple[str, str], list[dict]] = {}
  for row in rows:
    found.setdefault((row["model"], name(row)), []).append(row)
  return found


def by_model(rows: Iterable[dict]) -> list[list[dict]]:
  """The rows of each model."""
  found: dict[str, list[dict]] = {}
  for row in rows:
    found.setdefault(row["model"], []).append(row)
  return list(found.values())


def adversarials(rows: Iterable[dict]) -> list[dict]:
  """Those that had succeeded before the transform: a run may hold the others too."""
  return [row for row in rows if row["attack"] != "clean" and _fools(row, "new_label")]


def only(rows: Iterable[dict], transform: str) -> list[dict]:
  return [row for row in rows if row["transform"] == transform]


class Sorted(NamedTuple):
  """Rows by what their run is about: the run of each is its config's hash."""

  paper: list[dict]  # no attack knew of a transform
  adaptive: list[dict]  # some knew of one
  robust: list[dict]  # some knew of a set


def sort_rows(rows: Sequence[dict]) -> Sorted:
  """The rows of each kind; those of a run with both kinds of knowledge are in both."""
  runs: dict[str, list[dict]] = {}
  for row in rows:
    runs.setdefault(row["config_hash"], []).append(row)
  found = Sorted([], [], [])
  for run in runs.values():
    known = {row["through"] for row in run} - {None}
    if not known:
      found.paper.extend(run)
    if any(SEPARATOR not in through for through in known):
      found.adaptive.extend(run)
    if any(SEPARATOR in through for through in known):
      found.robust.extend(run)
  return found


def heard_right(rows: Sequence[dict]) -> list[dict]:
  """Adversarials of clips that are right, clean and after the transform.

  "fooled" is added: another label after the transform, or the target.
  """
  right = {
    (row["model"], row["file"], row["transform"])
    for row in rows
    if row["attack"] == "clean" and row["transformed_label"] == row["label"]
  }
  return [
    row | {"fooled": _fools(row, "transformed_label")}
    for row in rows
    if row["attack"] != "clean"
    and (row["model"], row["file"], row["transform"]) in right
  ]


def _fools(row: Mapping, said: str) -> bool:
  """Whether the label in the column `said` is what the attack wanted."""
  if row["target"] is not None:
    return row[said] == row["target"]
  return row[said] != row["label"]
