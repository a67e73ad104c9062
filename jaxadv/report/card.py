"""Model card: what a victim is, how well it classifies, what it costs (card.md).

Mitchell et al., Model cards for model reporting, FAT* 2019; nothing on intended use.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from jaxadv.predictions import Prediction
from jaxadv.report.card_figures import draw_confusion
from jaxadv.report.tables import MISSING, Table, escape_markdown, to_markdown
from jaxadv.workdir import write_text

Groups = Mapping[tuple[str, str], Sequence[Prediction]]  # (model, split) -> its rows


def group_predictions(rows: Sequence[Prediction]) -> dict[tuple[str, str], list]:
  """(model, split) -> its rows, in the order of the first of each."""
  groups: dict[tuple[str, str], list[Prediction]] = {}
  for row in rows:
    groups.setdefault((row.model, row.split), []).append(row)
  return groups


def _share(right: int, count: int) -> str:
  return f"{right / count:.3f}" if count else MISSING


def _right(rows: Sequence[Prediction]) -> int:
  return sum(row.label == row.predicted for row in rows)


def accuracy(groups: Groups, classes: Mapping[str, int], skipped: Groups | Mapping):
  """Table of one row per victim and split: how many clips it names rightly.

  classes: of each model, for the accuracy by chance. skipped: (model, split) -> clips
  that could not be used.
  """
  rows = []
  for (model, split), said in groups.items():
    sure = [row for row in said if row.verified]
    cells = (model, split, str(len(said)), str(_right(said)))
    rates = (_share(_right(said), len(said)), _share(_right(sure), len(sure)))
    chance = _share(1, classes[model])
    rows.append((*cells, *rates, chance, str(skipped.get((model, split), 0))))
  columns = ("Model", "split", "clips", "right", "accuracy", "verified", "chance")
  caption = "verified: accuracy over the clips whose label a person has checked."
  return Table("Accuracy", (*columns, "skipped"), rows, caption)


def count_confusions(rows: Sequence[Prediction], classes: Sequence[str]) -> np.ndarray:
  """int [true class, predicted class]."""
  labels, predicted = [row.label for row in rows], [row.predicted for row in rows]
  return confusion_matrix(labels, predicted, labels=list(classes))


def confusion(title: str, rows: Sequence[Prediction], classes: Sequence[str]) -> Table:
  """True classes as rows, predicted ones as columns, recall at the end."""
  counts = count_confusions(rows, classes)
  lines = [
    (name, *(str(n) if n else "." for n in row), f"{row[at] / max(1, row.sum()):.2f}")
    for at, (name, row) in enumerate(zip(classes, counts, strict=True))
  ]
  heads = tuple(name[:9] for name in classes)
  return Table(title, ("true \\ said", *heads, "recall"), lines, "")


def per_class(groups: Groups, classes: Sequence[str]) -> Table:
  """Recall and precision of every class on each split of one victim."""
  columns, cells = [], [[name] for name in classes]
  for (_, split), said in groups.items():
    counts = count_confusions(said, classes)
    columns += [f"{split}: clips", "right", "recall", "precision"]
    for at, row in enumerate(cells):
      right, true, named = counts[at, at], counts[at].sum(), counts[:, at].sum()
      row += [str(true), str(right), _share(right, true), _share(right, named)]
  caption = (
    "recall: share of the clips of a class that are named so, its accuracy; precision: "
    "share of the clips named so that are of the class."
  )
  rows = [tuple(row) for row in cells]
  return Table("Accuracy per class", ("class", *columns), rows, caption)


def write_card(
  folder: Path,
  name: str,
  facts: Mapping[str, str],
  rows: Sequence[Prediction],
  classes: Sequence[str],
  config: Mapping[str, Any],
) -> None:
  """card.md and confusion_SPLIT.png and .pdf of one victim, in `folder`.

  facts: what stands on top, name -> text. rows: what it says of clips, of any splits.
  """
  groups = group_predictions([row._replace(model=name) for row in rows])
  lines = [f"# {escape_markdown(name)}", "", "| | |", "|:--|:--|"]
  lines += [f"| {key} | {escape_markdown(text)} |" for key, text in facts.items()]
  tables = [accuracy(groups, {name: len(classes)}, {}), per_class(groups, classes)]
  tables[0] = _without(tables[0], "skipped")
  lines += ["", *map(to_markdown, tables)]
  for (_, split), said in groups.items():
    path = folder / f"confusion_{split}"
    draw_confusion(path, count_confusions(said, classes), classes)
    table = confusion(f"Confusion: {split}", said, classes)
    lines += [to_markdown(table), f"![confusion matrix]({path.name}.png)", ""]
  if (folder / "learning_curves.png").exists():
    lines += ["## Learning curves", "", "![curves](learning_curves.png)", ""]
    lines += ["Training batches are mixtures of two clips where mixup is on.", ""]
  lines += ["## Config", "", "```json", json.dumps(config, indent=1), "```", ""]
  write_text(folder / "card.md", "\n".join(lines))


def _without(table: Table, column: str) -> Table:
  at = table.columns.index(column)
  rows = [row[:at] + row[at + 1 :] for row in table.rows]
  return table._replace(columns=table.columns[:at] + table.columns[at + 1 :], rows=rows)
