"""What P1's tables have in common: rows by attack and model, numbers with intervals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxadv.report import papers
from jaxadv.report.folder import Run, flatten
from jaxadv.report.intervals import Interval, Sample, interval
from jaxadv.report.summary import name

# what a line of a table holds: clips that were classified right, or all of them
OURS, ALL, PAPER = "ours", "ours, all clips", "P1"
INTERVALS = (
  "In brackets: 95% percentile bootstrap intervals over clips; one without width means "
  "that all clips agree, not that the number is certain"
)
OWN = (
  "P1: the paper's numbers, of its own models and clips of FSDKaggle2018, where the "
  "attack's method (and the model's name) is one of its"
)


class Attack(NamedTuple):
  """The rows of one attack on all models. name: as printed; method: as configured."""

  name: str
  method: str
  targeted: bool
  by_model: dict[str, list[dict]]


def attacks_of(runs: Iterable[Run]) -> list[Attack]:
  """Every attack of the runs: P1's first and in its order, and so are its models."""
  found: dict[str, Attack] = {}
  for run in runs:
    for row in run.rows:
      new = Attack(
        name(row), method_of(run, row["attack"]), row["target"] is not None, {}
      )
      rows = found.setdefault(new.name, new).by_model
      rows.setdefault(row["model"], []).append(row)
  order = papers.in_order(found, papers.P1_TABLE_2, lambda n: found[n].method)
  return [
    found[n]._replace(
      by_model={m: found[n].by_model[m] for m in models(found[n].by_model)}
    )
    for n in order
  ]


def method_of(run: Run, attack: str) -> str:
  """The method of a config's attack; its name where the run does not say."""
  entry = run.config.get("attacks", {}).get(attack)
  return str(entry.get("method", attack)) if isinstance(entry, Mapping) else attack


def models(names: Iterable[str]) -> list[str]:
  """The names, P1's models first and in its order."""
  return papers.in_order(names, papers.MODELS, papers.model_of)


def numbers(
  groups: Iterable[Sequence[Mapping[str, Any]]], field: str, statistic: str = "mean"
) -> Interval | None:
  """Mean over groups (models) of a field's mean or median; finite values only."""
  kept = [
    [row for row in rows if row[field] is not None and math.isfinite(row[field])]
    for rows in groups
  ]
  samples = [
    Sample([float(row[field]) for row in rows], [row["file"] for row in rows])
    for rows in kept
  ]
  return interval(samples, statistic)


def stem_of(attack: str) -> str:
  """The attack's name as part of a file's: "pgd (targeted)" -> "pgd_targeted"."""
  return re.sub(r"[^\w.-]+", "_", attack).strip("_")


def differences(runs: Sequence[Run]) -> str:
  """What runs that are averaged do not have in common, as a sentence; or ""."""
  first: dict[str, tuple[Run, Any]] = {}
  said: list[str] = []
  for run in runs:
    compared = dict(flatten({"data": run.config.get("data") or {}}))
    compared.pop("data.root", None)
    targeted = "targets of " if run.config.get("targets") else ""
    entries = {f"{targeted}the clips": compared}
    for attack, entry in (run.config.get("attacks") or {}).items():
      entries[f"{targeted}{attack}"] = entry
    for key, entry in entries.items():
      other, settings = first.setdefault(key, (run, entry))
      if entry != settings:
        said.append(f"{key} in {run.workdir.name} and {other.workdir.name}")
  return f" Not alike: {'; '.join(said)} have different settings." if said else ""
