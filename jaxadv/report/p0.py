"""P0's Tables 2 to 5 from rows of transforms, with its own numbers beside ours.

Subramanian, Benetos, Sandler, Robustness of adversarial attacks in sound event
classification, DCASE 2019.
"""

from collections.abc import Sequence

from jaxadv.report import p0_adaptive, p0_robust, papers
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.p0_rows import (
  Split,
  adversarials,
  cells_of,
  only,
  sort_rows,
  split,
  transforms_of,
)
from jaxadv.report.p1_rows import INTERVALS, OURS, models, numbers
from jaxadv.report.summary import name

PAPER = "P0"
_OWN = "P0: the paper's numbers, of its own models and clips of FSDKaggle2018"
_SPLIT = (
  "After the transform the model says Adv: the adversarial label still; GT: the true "
  "one, which is the success of the defence; Diff: another. Adversarials that had "
  "succeeded only"
)
_SHARES = (
  Column("Adv %", "percent"),
  Column("GT %", "percent"),
  Column("Diff %", "percent"),
)


def tables(rows: Sequence[dict]) -> dict[str, Grid]:
  """Every table that there are rows for, by the stem of its files.

  Of runs with attacks that knew of transforms: what they reach beside the others.
  """
  sorted_rows = sort_rows(rows)
  clean = clean_clips(sorted_rows.paper)
  adversarial = adversarials(sorted_rows.paper)
  made = {"p0_table_2": table_2(clean)} if clean else {}
  if adversarial:
    made["p0_table_3"] = table_3(adversarial)
    made["p0_table_4"] = table_4(adversarial)
    made["p0_table_5"] = table_5(adversarial)
    made["p0_all"] = every(adversarial)
  if sorted_rows.adaptive:
    made["p0_adaptive"] = p0_adaptive.table(sorted_rows.adaptive)
  if sorted_rows.robust:
    made["p0_robust"] = p0_robust.table(sorted_rows.robust)
  return made


def clean_clips(rows: Sequence[dict]) -> list[dict]:
  """The rows of clean clips, once each: several runs may have them."""
  clean = [row for row in rows if row["attack"] == "clean"]
  return list({(r["model"], r["file"], r["transform"]): r for r in clean}.values())


def table_2(clean: Sequence[dict]) -> Grid:
  """Clean clips that were classified right: is the label still the true one?"""
  rows: list[tuple[Cell, ...]] = []
  for transform in transforms_of(clean):
    some = only(clean, transform)
    groups = list(cells_of(some).values())
    found = split(groups)
    rows.append((transform, OURS, len(some), found.true, found.other))
    if said := papers.P0_TABLE_2.get(transform):
      rows.append((transform, PAPER, 1230, *said))
  columns = (Column("Transform"), Column("Number"), Column("Clips"), *_SHARES[1:])
  caption = (
    "Clean clips that the model classifies right, after the transform; means over the "
    f"models. {INTERVALS}. {_OWN}."
  )
  return Grid("P0 Table 2: transforms of clean clips", columns, rows, caption)


def table_3(adversarial: Sequence[dict]) -> Grid:
  """Per transform, over all models and attacks."""
  rows: list[tuple[Cell, ...]] = []
  for transform in transforms_of(adversarial):
    some = only(adversarial, transform)
    rows.append((transform, OURS, len(some), *split(cells_of(some).values())))
    if said := papers.P0_TABLE_3.get(transform):
      rows.append((transform, PAPER, None, *said))
  columns = (Column("Transform"), Column("Number"), Column("Clips"), *_SHARES)
  caption = f"{_SPLIT}; means over models and attacks. {INTERVALS}. {_OWN}."
  return Grid("P0 Table 3: transforms of adversarials", columns, rows, caption)


def table_4(adversarial: Sequence[dict]) -> Grid:
  """The two transforms after which most are right again, per model."""
  rows: list[tuple[Cell, ...]] = []
  tried = transforms_of(adversarial)
  for model in models(row["model"] for row in adversarial):
    own = [row for row in adversarial if row["model"] == model]
    for transform, found in best(own, 2):
      rows.append((model, OURS, transform, *found))
    said = papers.P0_TABLE_4.get(papers.model_of(model) or "", {})
    rows += [(model, PAPER, t, *shares) for t, shares in said.items() if t in tried]
  columns = (Column("Model"), Column("Number"), Column("Transform"), *_SHARES)
  caption = (
    f"The two transforms with the largest GT of each model. {_SPLIT}; means over the "
    f"attacks. {INTERVALS}. {_OWN}."
  )
  return Grid("P0 Table 4: best defences per model", columns, rows, caption)


def table_5(adversarial: Sequence[dict]) -> Grid:
  """The three transforms after which most are right again, per attack."""
  rows: list[tuple[Cell, ...]] = []
  tried = transforms_of(adversarial)
  for attack in dict.fromkeys(name(row) for row in adversarial):
    own = [row for row in adversarial if name(row) == attack]
    # each adversarial once, not once per transform; ids begin anew in each split
    once = list({(row["model"], row["id"], row["file"]): row for row in own}.values())
    by_model = list(cells_of(once).values())
    shown = (numbers(by_model, "snr_db"), numbers(by_model, "new_conf"))
    for transform, found in best(own, 3):
      rows.append((attack, OURS, *shown, transform, *found))
    key = (own[0]["method"], own[0]["target"] is not None)
    header, said = papers.P0_TABLE_5.get(key, ((), {}))
    for transform, shares in said.items():
      if transform in tried:
        rows.append((attack, PAPER, *header, transform, *shares))
  columns = (
    *(Column("Attack"), Column("Number"), Column("SNR mean dB", "db")),
    *(Column("New", "share"), Column("Transform"), *_SHARES),
  )
  caption = (
    f"The three transforms with the largest GT of each attack. {_SPLIT}; means over "
    "the models. SNR, New: of the adversarials before the transform. "
    f"{INTERVALS}. {_OWN}."
  )
  return Grid("P0 Table 5: best defences per attack", columns, rows, caption)


def best(rows: Sequence[dict], count: int) -> list[tuple[str, Split]]:
  """The transforms with the largest share of true labels, the largest first."""
  found = [(t, split(cells_of(only(rows, t)).values())) for t in transforms_of(rows)]
  ranked = sorted(found, key=lambda one: -one[1].true.value if one[1].true else 0)
  return ranked[:count]


def every(adversarial: Sequence[dict]) -> Grid:
  """Each model, attack and transform by itself."""
  rows: list[tuple[Cell, ...]] = []
  cells = cells_of(adversarial)
  for model in models(key[0] for key in cells):
    for (own, attack), members in cells.items():
      for transform in transforms_of(members) if own == model else ():
        some = only(members, transform)
        rows.append((model, attack, transform, len(some), *split([some])))
  columns = (Column("Model"), Column("Attack"), Column("Transform"), Column("Clips"))
  caption = f"{_SPLIT}. {INTERVALS}."
  return Grid("All models, attacks, transforms", (*columns, *_SHARES), rows, caption)
