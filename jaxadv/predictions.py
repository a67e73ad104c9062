"""What victims say of clean clips: one row per victim and clip, in predictions.csv."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxadv.errors import InputError
from jaxadv.workdir import write_text


class Prediction(NamedTuple):
  """split: "train", "test" or "validation". id: `Clip.index`, the row in the split's
  CSV. verified: by a person (1 or 0 in the file). confidence: P(predicted)."""

  model: str
  split: str
  id: int
  file: str
  label: str
  verified: bool
  predicted: str
  confidence: float


def write_predictions(path: Path, rows: Iterable[Prediction]) -> None:
  """The rows as CSV with their names as header, whole or not at all."""
  table = io.StringIO()
  writer = csv.writer(table, lineterminator="\n")
  writer.writerow(Prediction._fields)
  for row in rows:
    confidence = f"{row.confidence:.6g}"
    writer.writerow(row._replace(verified=int(row.verified), confidence=confidence))
  write_text(path, table.getvalue())


def read_predictions(path: Path) -> list[Prediction]:
  """The rows as written, [] where there is no such file; InputError for another one."""
  if not path.exists():
    return []
  try:
    with path.open(newline="", encoding="utf-8") as file:
      return [_parse(row) for row in csv.DictReader(file)]
  except (KeyError, ValueError, TypeError, csv.Error) as error:
    raise InputError(
      f"{path} is no table of predictions ({error}): delete it and evaluate again"
    ) from error


def _parse(row: dict[str, str]) -> Prediction:
  texts = {name: row[name] for name in ("model", "split", "file", "label", "predicted")}
  verified, confidence = bool(int(row["verified"])), float(row["confidence"])
  return Prediction(
    id=int(row["id"]), verified=verified, confidence=confidence, **texts
  )
