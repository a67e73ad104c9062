"""P1's Tables 1 to 4 from rows and predictions, with its own numbers beside ours.

Subramanian et al., Adversarial attacks in sound event classification, 2019.
"""

from collections.abc import Iterable, Sequence

from jaxadv.predictions import Prediction
from jaxadv.report import papers
from jaxadv.report.folder import Run
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.p1_matrices import success_matrix, table_4
from jaxadv.report.p1_rows import (
  ALL,
  INTERVALS,
  OURS,
  OWN,
  PAPER,
  Attack,
  attacks_of,
  differences,
  models,
  numbers,
  stem_of,
)
from jaxadv.report.summary import attacked, successes

_SUCCESS = (
  "Success: share of the clips that the model classified right, judged again on the "
  "stored example; all that follows it is over these successes"
)
_COUNTED = (
  "All clips: misclassified ones too, as P1 counts them; such a clip is a success if "
  "the new label isn't the true one"
)
_SNRS = (Column("SNR mean dB", "db"), Column("SNR median dB", "db"))
_SAID = (Column("New", "share"), Column("GT-new", "share"))
_RATE = Column("Success %", "percent")


def tables(runs: Sequence[Run], predictions: Sequence[Prediction]) -> dict[str, Grid]:
  """Every table that there are rows for, by the stem of its files."""
  made: dict[str, Grid] = {}
  if predictions:
    made["p1_table_1"] = table_1(predictions)
  attacks, warning = attacks_of(runs), differences(runs)
  untargeted = [attack for attack in attacks if not attack.targeted]
  targeted = [attack for attack in attacks if attack.targeted]
  if untargeted:
    made["p1_table_2"] = table_2(untargeted, warning)
  for number, method in (("3a", papers.DEEPFOOL), ("3b", papers.CARLINI_WAGNER)):
    if some := [attack for attack in untargeted if attack.method == method]:
      made[f"p1_table_{number}"] = table_3(f"P1 Table {number}", some)
  for attack in untargeted:
    if attack.method not in papers.P1_TABLE_3:
      made[f"p1_table_3_{stem_of(attack.name)}"] = table_3("P1 Table 3", [attack])
  if targeted:
    made["p1_targeted"] = table_3("As P1's Table 3", targeted)
  classes = list(dict.fromkeys(label for run in runs for label in run.classes))
  for attack in targeted:
    stem = f"p1_table_4_{stem_of(attack.name.removesuffix(' (targeted)'))}"
    made[stem] = table_4(attack, classes, warning)
    made[f"{stem}_success"] = success_matrix(attack, classes, warning)
  if attacks:
    made["p1_per_class"] = per_class(attacks, classes)
  return made


def table_1(predictions: Iterable[Prediction]) -> Grid:
  """Accuracy per model in training, over verified clips only, and in test."""
  right: dict[str, dict[str, list[dict]]] = {}
  for row in predictions:
    if row.split == "train" and not row.verified:
      continue
    judged = {"file": row.file, "right": row.predicted == row.label}
    right.setdefault(row.model, {}).setdefault(row.split, []).append(judged)
  rows: list[tuple[Cell, ...]] = []
  for model in models(right):
    of = [right[model].get(split, []) for split in ("train", "test")]
    cells = [cell for some in of for cell in (len(some), numbers([some], "right"))]
    rows.append((model, OURS, *cells))
    if said := papers.P1_TABLE_1.get(papers.model_of(model) or ""):
      rows.append((model, PAPER, None, said[0], None, said[1]))
  columns = (
    *(Column("Model"), Column("Number")),
    *(Column("Train clips"), Column("Train %", "percent")),
    *(Column("Test clips"), Column("Test %", "percent")),
  )
  caption = f"Train: manually verified clips only. {INTERVALS}. {OWN}."
  return Grid("P1 Table 1: accuracy", columns, rows, caption)


def _success_row(groups: Sequence[Sequence[dict]], fields: Sequence[str]) -> list[Cell]:
  """Success over the groups; the fields and the SNRs over their successes."""
  won = [[row for row in rows if row["success"]] for rows in groups]
  cells: list[Cell] = [numbers(groups, "success")]
  cells += [numbers(won, field) for field in fields]
  return [*cells, *(numbers(won, "snr_db", how) for how in ("mean", "median"))]


def table_2(attacks: Iterable[Attack], warning: str = "") -> Grid:
  """Averages over models of untargeted attacks."""
  rows: list[tuple[Cell, ...]] = []
  for attack in attacks:
    everything = list(attack.by_model.values())
    for label, groups in (
      (OURS, [attacked(some) for some in everything]),
      (ALL, everything),
    ):
      counts = (len(groups), sum(map(len, groups)))
      cells = _success_row(groups, ("new_conf", "gt_new_conf"))
      rows.append((attack.name, label, *counts, *cells))
    if said := papers.P1_TABLE_2.get(attack.method):
      rows.append((attack.name, PAPER, 5, 5 * 246, *said, None))
  columns = (Column("Attack"), Column("Number"), Column("Models"), Column("Clips"))
  caption = (
    "Means over models of each model's mean (last column: median). Clips: of all "
    f"models. {_SUCCESS}. {_COUNTED}. New: confidence in the new label; GT-new: in the "
    f"true one, both on the adversarial. {INTERVALS}. {OWN}.{warning}"
  )
  title = "P1 Table 2: untargeted attacks, averages over models"
  return Grid(title, (*columns, _RATE, *_SAID, *_SNRS), rows, caption)


def table_3(title: str, attacks: Sequence[Attack]) -> Grid:
  """Averages per attack and model."""
  rows: list[tuple[Cell, ...]] = []
  fields = ("gt_conf", "new_conf", "gt_new_conf")
  for attack in attacks:
    for model, members in attack.by_model.items():
      for label, some in ((OURS, attacked(members)), (ALL, members)):
        cells = _success_row([some], fields)
        rows.append((attack.name, model, label, len(some), *cells))
      said = papers.P1_TABLE_3.get(attack.method, {}).get(papers.model_of(model) or "")
      if said and not attack.targeted:
        rows.append((attack.name, model, PAPER, 246, *said, None))
  columns = (Column("Attack"), Column("Model"), Column("Number"), Column("Clips"))
  shown = ", ".join(attack.name for attack in attacks)
  caption = (
    f"{_SUCCESS}. {_COUNTED}. GT: confidence in the true label on the clean clip; New: "
    "in the new label, GT-new: in the true one, both on the adversarial. "
    f"{INTERVALS}. {OWN}."
  )
  title = f"{title}: {shown}, per model"
  return Grid(
    title, (*columns, _RATE, Column("GT", "share"), *_SAID, *_SNRS), rows, caption
  )


def per_class(attacks: Iterable[Attack], classes: Sequence[str]) -> Grid:
  """Success and median SNR per attack and true class, pooled over models."""
  rows: list[tuple[Cell, ...]] = []
  for attack in attacks:
    members = [row for some in attack.by_model.values() for row in some]
    for label in classes:
      if not any(row["label"] == label for row in members):
        continue
      tried = attacked(row for row in members if row["label"] == label)
      rate, snr = numbers([tried], "success"), [successes(tried)]
      rows.append(
        (attack.name, label, len(tried), rate, numbers(snr, "snr_db", "median"))
      )
  columns = (Column("Attack"), Column("Class"), Column("Attacked"), _RATE, _SNRS[1])
  caption = f"Pooled over models. Class: the true one. {_SUCCESS}. {INTERVALS}."
  return Grid("Success and SNR per class", columns, rows, caption)
