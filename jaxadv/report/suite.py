"""Guards over several attacks of a run: do they contradict each other?

Each takes its own name and the run's entries, and yields a Finding, or None where it
looked and all was well.
"""

import itertools
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

_FEW_STEPS = 3  # FGSM and its kin: the clean clip, and a step or two
_BEATEN = 0.002  # share of the clips that a weaker attack may fool alone
_NEAR_ALL = 0.95  # share that an attack without a limit should fool
_FALLING = 0.05  # of the loss, in the last 10% of the steps
_LOSSES_DIFFER = 0.05  # success rates
_BLIND = ("square",)  # stages of ensembles that see no gradient
_SIZES = ("l2", "linf")  # columns that hold a perturbation's size


class Finding(NamedTuple):
  """One raised flag. attack: whom it is about; examples: files."""

  guard: str
  attack: str
  said: str
  examples: tuple[str, ...]


class Entry(NamedTuple):
  """An attack of the run: its settings, and its rows by id, clean clip right."""

  name: str
  settings: dict
  rows: dict[int, dict]

  @property
  def sighted(self) -> bool:
    return any(row["backward_passes"] for row in self.rows.values())

  @property
  def iterative(self) -> bool:
    return any(row["steps"] > _FEW_STEPS for row in self.rows.values())

  @property
  def rate(self) -> float:
    return fmean(bool(row["success"]) for row in self.rows.values())


def find(guard, attack, rows, said) -> Finding:
  files = [
    row["file"] if row["target"] is None else f"{row['file']} to {row['target']}"
    for row in rows
  ]
  return Finding(guard, attack, said, tuple(files))


def _covers(one: dict, other: dict) -> bool:
  """Whether all that `other` may do, `one` may do."""
  if any(one.get(key) != other.get(key) for key in ("norm", "frame_samples")):
    return False
  mine, its = one.get("radius"), other.get("radius")
  if mine is None or its is None:
    return mine is None
  kinds = {settings.get("budget", "absolute") for settings in (one, other)}
  if len(kinds) > 1:
    return False
  return mine <= its if kinds == {"snr_db"} else mine >= its


def _beaten(one: Entry, other: Entry) -> list[dict]:
  """one's rows that it lost and `other` won, or won by less without a limit."""
  norm = one.settings.get("norm")
  free = one.settings.get("radius") is None and norm in _SIZES

  def loses(row, rival):
    larger = free and row[norm] > rival[norm] * (1 + 1e-5)
    return rival["success"] and (not row["success"] or larger)

  both = one.rows.keys() & other.rows.keys()
  return [one.rows[at] for at in sorted(both) if loses(one.rows[at], other.rows[at])]


def _against(guard, pairs, said):
  """One finding for each `one`: the rival that beats it on most clips speaks for all.

  pairs: (one, other), those of one together. A sweep over n radii has n^2 of them.
  """
  for _, group in itertools.groupby(pairs, lambda pair: pair[0].name):
    beaten = [(one, other, _beaten(one, other)) for one, other in group]
    one, other, most = max(beaten, key=lambda pair: len(pair[-1]))
    few = _BEATEN * len(one.rows)
    lost = [rows for *_, rows in beaten if len(rows) > few]
    text = said.format(one=one.name, other=other.name, count=len(most))
    every = {row["id"]: row for rows in lost for row in rows}
    if len(lost) > 1:
      text += f" ({len(lost) - 1} more like it beat it, on {len(every)} clips in all)"
    rows = [every[at] for at in sorted(every)]
    yield find(guard, one.name, rows, text) if lost else None


def _strong(entries):
  return [entry for entry in entries if entry.sighted and entry.iterative]


def _single_step(guard, entries):
  single = [entry for entry in entries if entry.sighted and not entry.iterative]
  pairs = [
    (one, other)
    for one, other in itertools.product(_strong(entries), single)
    if _covers(one.settings, other.settings)
  ]
  return _against(
    guard,
    pairs,
    "{other}, a single step, beats {one} on {count} clips: more steps, another step "
    "size, or a masked gradient",
  )


def _without_gradient(guard, entries):
  blind = [entry for entry in entries if not entry.sighted]
  pairs = [
    (one, other)
    for one, other in itertools.product(_strong(entries), blind)
    if _covers(one.settings, other.settings)
  ]
  yield from _against(
    guard,
    pairs,
    "{other}, which sees no gradient, beats {one} on {count} clips: the gradient is "
    "masked or the attack too weak",
  )
  for one in entries:  # a stage is given what the ones before it left
    stages = {row["found_by"] for row in one.rows.values()} - {None}
    fell = [row for row in one.rows.values() if row["found_by"] in _BLIND]
    said = (
      f"{len(fell)} clips of {one.name} fell to {', '.join(_BLIND)}, which sees no "
      "gradient, and to none of the stages that do: the gradient is masked"
    )
    if stages:
      many = len(fell) > _BEATEN * len(one.rows)
      yield find(guard, one.name, fell, said) if many else None


def _apart_in(key, entries):
  """Pairs of entries whose settings differ in one key only."""

  def rest(entry):
    return {k: v for k, v in entry.settings.items() if k != key}

  for one, other in itertools.permutations(entries, 2):
    differ = one.settings.get(key) != other.settings.get(key)
    if one.settings and differ and rest(one) == rest(other):
      yield one, other


def _radius(guard, entries):
  pairs = [p for p in _apart_in("radius", entries) if _covers(*(e.settings for e in p))]
  return _against(
    guard,
    pairs,
    "{other}, with the smaller radius, beats {one} on {count} clips: more steps or "
    "restarts",
  )


def _huge(settings: dict) -> bool:
  radius, budget = settings.get("radius"), settings.get("budget", "absolute")
  if radius is None:
    return bool(settings)
  if budget == "absolute":
    return settings.get("norm") == "linf" and radius >= 1
  return radius <= 0 if budget == "snr_db" else radius >= 1


def _no_limit(guard, entries):
  for one in _strong(entries):
    if _huge(one.settings):
      left = [row for row in one.rows.values() if not row["success"]]
      said = (
        f"{one.name} has no limit to speak of and fools {one.rate:.0%}: its steps are "
        "too few or too short, or the gradient is masked"
      )
      yield find(guard, one.name, left, said) if one.rate < _NEAR_ALL else None


def _converged(guard, entries):
  for one in entries:
    failed = [row for row in one.rows.values() if not row["success"]]
    if one.iterative:
      falling = [row for row in failed if (row["late_drop"] or 0) > _FALLING]
      said = (
        f"the loss still fell by more than {_FALLING:.0%} in the last 10% of the steps "
        f"on {len(falling)} of {len(failed)} failures: give {one.name} more steps"
      )
      yield find(guard, one.name, falling, said) if falling else None


def _losses(guard, entries):
  for one, other in _apart_in("loss", entries):
    if one.name < other.name:
      both = sorted(one.rows.keys() & other.rows.keys())
      unlike = [
        one.rows[at]
        for at in both
        if one.rows[at]["success"] != other.rows[at]["success"]
      ]
      said = (
        f"{one.name} fools {one.rate:.0%} and {other.name} {other.rate:.0%}, with "
        "another loss alone: one of the two gradients is masked; report the better"
      )
      differ = abs(one.rate - other.rate) > _LOSSES_DIFFER and len(unlike) > 1
      names = f"{one.name}, {other.name}"
      yield find(guard, names, unlike, said) if differ else None


OF_ENTRIES: dict[str, tuple[Callable, str]] = {
  "iterative >= single step": (
    _single_step,
    "no single-step and iterative attack of one norm and no smaller a budget",
  ),
  "gradient >= no gradient": (
    _without_gradient,
    "no attack without gradients and iterative one of one norm and no smaller a budget",
  ),
  "larger radius >= smaller": (_radius, "no two attacks differ in the radius alone"),
  "no limit, all fooled": (_no_limit, "no iterative attack has a huge radius or none"),
  "converged": (_converged, "no iterative attack"),
  "losses agree": (_losses, "no two attacks differ in the loss alone"),
}
