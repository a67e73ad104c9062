"""What a run's folder holds, read once for tables, figures and page."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxadv import results
from jaxadv.errors import InputError

# what all rows of an honest comparison have in common
_SHARED = {"config_hash": "config hash", "versions": "versions", "device": "device"}


class Run(NamedTuple):
  """A run's folder in memory."""

  workdir: Path
  rows: list[dict]
  config: dict
  facts: dict  # run.json
  skipped: list[dict]  # file, reason
  guards: dict  # guards.json: what the pre-flight found

  @property
  def classes(self) -> list[str]:
    """Class names in the model's order; of a run without them, those of the rows."""
    named = {row[key] for row in self.rows for key in ("label", "target", "new_label")}
    return list(self.facts.get("classes") or sorted(named - {None}))


def read_run(workdir: str | Path) -> Run:
  """The run in a folder. InputError where it has no rows or a file cannot be read.

  A run that was stopped early may lack config.json, run.json, guards.json or
  skipped.csv: they read as empty.
  """
  workdir = Path(workdir)
  try:
    rows = results.read(workdir)
  except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
    raise InputError(f"{workdir / 'rows'} cannot be read: {error}") from error
  if not rows:
    raise InputError(
      f"{workdir} holds no rows (rows/part-*.parquet): give the workdir of a run that "
      "attacked at least one clip."
    )
  config, facts = _json(workdir / "config.json"), _json(workdir / "run.json")
  guards, skipped = _json(workdir / "guards.json"), _skipped(workdir)
  return Run(workdir, rows, config, facts, skipped, guards)


def _json(path: Path) -> dict:
  if not path.is_file():
    return {}
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise InputError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(values, dict):
    raise InputError(f"{path} holds a {type(values).__name__}: it must hold an object.")
  return values


def _skipped(workdir: Path) -> list[dict]:
  """Of all processes that wrote to the folder."""
  reasons: dict[str, str] = {}
  for path in sorted(workdir.glob("skipped*.csv")):
    with open(path, newline="", encoding="utf-8") as file:
      for row in csv.DictReader(file):
        reasons[row.get("file") or ""] = row.get("reason") or ""
  return [{"file": file, "reason": reason} for file, reason in reasons.items()]


def flatten(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
  """Nested mapping -> (dotted key, printed value) pairs."""
  pairs: list[tuple[str, str]] = []
  for key, value in values.items():
    if isinstance(value, Mapping):
      pairs += flatten(value, f"{prefix}{key}.")
    elif isinstance(value, list | tuple):
      pairs.append((f"{prefix}{key}", ", ".join(map(str, value))))
    else:
      pairs.append((f"{prefix}{key}", "" if value is None else str(value)))
  return pairs


def run_facts(run: Run) -> list[tuple[str, str]]:
  """run.json without classes and usage, and what the rows do not agree on."""
  left_out = ("classes", "usage")
  facts = {key: value for key, value in run.facts.items() if key not in left_out}
  pairs = flatten(facts)
  pairs.append(("classes", str(len(run.classes))))
  return pairs + _mixed(run.rows)


def _mixed(rows: Iterable[dict]) -> list[tuple[str, str]]:
  # a folder resumed elsewhere is legitimate, but the reader must be told
  rows, found = list(rows), []
  for field, said in _SHARED.items():
    values = list(dict.fromkeys(row[field] for row in rows))
    if len(values) > 1:
      found.append((f"rows differ in {said}", "; ".join(map(str, values))))
  return found
