"""P1's Table 5: how often an example made for one model fools another.

Subramanian et al., Adversarial attacks in sound event classification, 2019.
"""

from collections.abc import Callable, Sequence

from jaxadv.report import papers
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.p1_rows import INTERVALS, OURS, OWN, PAPER, models, numbers, stem_of
from jaxadv.report.summary import name

_AXES = (
  "Rows: the model that listens; columns: the model that was attacked. Where the two "
  "are one, it is the attack's own success"
)
_POOLED = (papers.DEEPFOOL, papers.CARLINI_WAGNER)  # as in P1


def transfer_tables(rows: Sequence[dict]) -> dict[str, Grid]:
  """Table 5 pooled over attacks and for each, by the stem of its files.

  Pooled are P1's DeepFool and Carlini-Wagner, untargeted; where neither is there, all
  untargeted attacks.
  """
  untargeted = [row for row in rows if row["target"] is None]
  pooled = [row for row in untargeted if row["method"] in _POOLED] or untargeted
  made: dict[str, Grid] = {}
  if pooled:
    made |= _both("p1_table_5", pooled, papers.P1_TABLE_5)
  for attack in dict.fromkeys(name(row) for row in rows):
    some = [row for row in rows if name(row) == attack]
    stem = f"p1_table_5_{stem_of(attack)}"
    made |= _both(stem, some, {})
    if some[0]["target"] is not None:
      made[f"{stem}_reached"] = reached(some)
  return made


def _both(stem: str, rows: Sequence[dict], said: dict) -> dict[str, Grid]:
  return {stem: table_5(rows, said), f"{stem}_strict": strict(rows)}


def table_5(rows: Sequence[dict], said: dict[str, dict[str, float]]) -> Grid:
  """Share of all attacked clips whose label changes, of the model that listens.

  said: the paper's numbers.
  """
  judged = [row | {"fooled": row["new_label"] != row["clean_label"]} for row in rows]
  caption = (
    f"{_AXES}. Share of all attacked clips, whether the attack succeeded or not, whose "
    "adversarial has another label than their clean clip, both of the model that "
    f"listens. {_same(rows)}{INTERVALS}. {OWN}."
  )
  return _matrix(f"P1 Table 5: transfer in %, {_attacks(rows)}", judged, said, caption)


def strict(rows: Sequence[dict]) -> Grid:
  """The same over successes at the source that the listener classified right clean."""
  kept = [
    row | {"fooled": row["new_label"] != row["label"]}
    for row in rows
    if _won(row) and row["clean_label"] == row["label"]
  ]
  caption = (
    f"{_AXES}. Share of the clips that both models classified right and whose "
    "adversarial fooled the model that was attacked, of which the model that listens "
    f"says another label than the true one. {INTERVALS}."
  )
  title = f"Transfer in %, {_attacks(rows)}, successes only"
  return _matrix(title, kept, {}, caption, shown=rows)


def reached(rows: Sequence[dict]) -> Grid:
  """Of targeted successes at the source, the share that reaches the target again."""
  kept = [
    row | {"fooled": row["new_label"] == row["target"]}
    for row in rows
    if _won(row) and row["clean_label"] == row["label"]
  ]
  caption = (
    f"{_AXES}. Share of the clips that both models classified right and whose "
    "adversarial reached its target on the model that was attacked, of which the model "
    f"that listens says the target too. {INTERVALS}."
  )
  title = f"Transfer of the target in %, {_attacks(rows)}"
  return _matrix(title, kept, {}, caption, shown=rows)


def _won(row: dict) -> bool:
  return row["source_clean_correct"] and row["source_success"]


def _attacks(rows: Sequence[dict]) -> str:
  return " and ".join(dict.fromkeys(name(row) for row in rows))


def _same(rows: Sequence[dict]) -> str:
  """Check of the diagonal: is an example judged as it was when it was made?"""
  own = [row for row in rows if row["model"] == row["source"]]
  if not own:
    return ""
  alike = sum(row["new_label"] == row["source_new_label"] for row in own)
  return f"Check: {alike} of {len(own)} on the diagonal have the label of their run. "


def _matrix(
  title: str,
  rows: Sequence[dict],
  said: dict[str, dict[str, float]],
  caption: str,
  shown: Sequence[dict] | None = None,
) -> Grid:
  """Listener x source, mean of "fooled". shown: rows of the models that have a line."""
  shown = rows if shown is None else shown
  listeners = models(row["model"] for row in shown)
  sources = models(row["source"] for row in shown)
  cells: dict[tuple[str, str], list[dict]] = {}
  for row in rows:
    cells.setdefault((row["model"], row["source"]), []).append(row)
  lines: dict[str, Callable[[str, str], Cell]] = {
    OURS: lambda *key: numbers([cells.get(key, [])], "fooled"),
    "clips": lambda *key: str(len(cells.get(key, []))),
    PAPER: lambda *key: _of_paper(said, *key),
  }
  made: list[tuple[Cell, ...]] = []
  for listener in listeners:
    for number, cell in lines.items():
      line = [cell(listener, source) for source in sources]
      if number != PAPER or any(value is not None for value in line):
        made.append((listener, number, *line))
  columns = (Column("Model"), Column("Number"))
  return Grid(
    title, (*columns, *(Column(s, "percent") for s in sources)), made, caption
  )


def _of_paper(said: dict, listener: str, source: str) -> float | None:
  own, other = papers.model_of(listener), papers.model_of(source)
  return said.get(own, {}).get(other)
