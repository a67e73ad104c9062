"""Runs, evaluations and transfers, found in folders and checked to fit together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.predictions import Prediction, read_predictions
from jaxadv.report.folder import Run, read_run
from jaxadv.report.summary import group

_PREDICTIONS = "predictions.csv"


class Gathered(NamedTuple):
  """All that some folders hold."""

  runs: list[Run]
  predictions: list[Prediction]
  transfers: list[dict]  # rows of transfers
  transformed: list[dict]  # rows of transforms


# ids begin anew in each split
_ADVERSARIAL = ("model", "attack", "target", "id", "file")


def gather(folders: Sequence[str | Path]) -> Gathered:
  """What the folders hold, themselves or one or two levels below.

  InputError for a folder that is missing or holds nothing of use, for rows that do not
  belong together, and for a file that is damaged.
  """
  found: list[Path] = []
  for folder in map(Path, folders):
    inside = _holders(folder)
    if not inside:
      raise InputError(
        f"{folder} holds no rows/part-*.parquet, no {_PREDICTIONS}, no "
        "transfer/part-*.parquet and no transformed/part-*.parquet, nor does a folder "
        "one or two levels below it: give the workdir of a run that stored a row"
      )
    found += inside
  found = list({path.resolve(): path for path in found}.values())
  runs = [read_run(path) for path in found if results.parts(path)]
  check_runs(runs)
  evaluated = [path for path in found if (path / _PREDICTIONS).is_file()]
  return Gathered(
    runs,
    _predictions(evaluated),
    _rows(found, "transfer", ("source", "attack", "id", "file", "model")),
    _rows(found, "transformed", (*_ADVERSARIAL, "transform")),
  )


def gather_runs(folders: Sequence[str | Path]) -> list[Run]:
  """The runs in the folders. InputError as `gather`, and where there is none."""
  runs = gather(folders).runs
  if not runs:
    raise InputError(
      f"{', '.join(map(str, folders))}: no rows/part-*.parquet in it: give the workdir "
      "of an attack"
    )
  return runs


def _holders(folder: Path) -> list[Path]:
  """The folder itself, or else those below it, that hold something of use."""
  if not folder.is_dir():
    raise InputError(f"there is no folder {folder}: give the workdir of a run")
  levels = [[folder], sorted(folder.glob("*/")), sorted(folder.glob("*/*/"))]
  return [path for level in levels for path in level if _holds(path)]


def _holds(path: Path) -> bool:
  stored = any(results.parts(path, table) for table in results.TABLES)
  return stored or (path / _PREDICTIONS).is_file()


def check_runs(runs: Iterable[Run]) -> None:
  """InputError where an attack on one model is there twice, or class lists differ."""
  sources: dict[tuple[str, str], tuple[Path, str]] = {}
  first: Run | None = None
  for run in runs:
    for name, rows in group(run.rows).items():
      hashes = sorted({str(row["config_hash"]) for row in rows})
      if len(hashes) > 1:
        raise InputError(
          f"{run.workdir}: the rows of {name} come from different configs "
          f"({', '.join(hashes)}): attack again, into an empty workdir"
        )
      key = rows[0]["model"], name
      if key in sources:
        other, config_hash = sources[key]
        how = "the same config" if config_hash == hashes[0] else "different configs"
        raise InputError(
          f"{name} on {key[0]} is in {other} ({config_hash}) and in {run.workdir} "
          f"({hashes[0]}), of {how}: give one of the two folders"
        )
      sources[key] = run.workdir, hashes[0]
    if not run.facts.get("classes"):
      continue  # a run that was stopped early does not say
    first = first or run
    differing = sorted(set(run.classes) ^ set(first.classes))
    if differing:
      raise InputError(
        f"{first.workdir} and {run.workdir} have different classes ({differing[0]!r} "
        "is in one of them only): report on them apart"
      )


def _predictions(folders: Sequence[Path]) -> list[Prediction]:
  rows, sources = [], {}
  for folder in folders:
    path = folder / _PREDICTIONS
    read = read_predictions(path)
    if not read:
      raise InputError(f"{path} has no rows: delete it and evaluate again")
    for model, split in dict.fromkeys((row.model, row.split) for row in read):
      if (model, split) in sources:
        raise InputError(
          f"predictions of {model} on {split} are in {sources[model, split]} and in "
          f"{path}: give one of the two folders"
        )
      sources[model, split] = path
    rows += read
  return rows


def _rows(folders: Sequence[Path], table: str, names: Sequence[str]) -> list[dict]:
  """The rows of a table in all folders. InputError where two tell of one example.

  names: the columns that tell rows apart. Clean clips may be in several.
  """
  rows, sources = [], {}
  for folder in folders:
    read = results.read(folder, table)
    for row in read:
      key = tuple(row[name] for name in names)
      if key in sources and row["attack"] != "clean":
        raise InputError(
          f"{table} rows of {row['attack']} on {row['model']} are in {sources[key]} "
          f"and in {folder}: give one of the two folders"
        )
      sources[key] = folder
    rows += read
  return rows
