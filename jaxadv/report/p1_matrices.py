"""P1's Table 4 and Figure 2: targeted attacks, true class x target.

Subramanian et al., Adversarial attacks in sound event classification, 2019.
"""

from collections.abc import Callable, Mapping, Sequence

from jaxadv.report import papers
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.p1_rows import ALL, INTERVALS, OURS, OWN, PAPER, Attack, numbers
from jaxadv.report.summary import attacked, successes

_MATRIX = "Rows: true class; columns: target; means over models of each model's mean"


# the rows of each model that have one true class and one target
Pairs = dict[tuple[str, str], list[list[dict]]]


def _pairs(attack: Attack) -> Pairs:
  found: Pairs = {}
  for rows in attack.by_model.values():
    of_model: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
      of_model.setdefault((row["label"], row["target"]), []).append(row)
    for key, some in of_model.items():
      found.setdefault(key, []).append(some)
  return found


def _matrix(
  title: str,
  pairs: Pairs,
  classes: Sequence[str],
  lines: Mapping[str, Callable[[tuple[str, str]], Cell]],
  kind: str,
  caption: str,
) -> Grid:
  """True class x target. lines: what a class has a line of, and what is in its cells,
  as a function of (true class, target)."""
  labels = [label for label in classes if any(label == key[0] for key in pairs)]
  targets = [label for label in classes if any(label == key[1] for key in pairs)]
  rows: list[tuple[Cell, ...]] = []
  for label in labels:
    for said, cell in lines.items():
      line = [cell((label, target)) for target in targets]
      if said != PAPER or any(value is not None for value in line):
        rows.append((label, said, *line))
  columns = (Column("Class"), Column("Number"), *(Column(t, kind) for t in targets))
  return Grid(title, columns, rows, caption)


def table_4(attack: Attack, classes: Sequence[str], warning: str = "") -> Grid:
  """Mean SNR of a targeted attack, true class x target, and the one as P1 took it."""
  pairs, said = _pairs(attack), papers.P1_TABLE_4.get(attack.method, {})
  won = {key: [successes(rows) for rows in groups] for key, groups in pairs.items()}
  lines = {
    OURS: lambda key: numbers(won.get(key, []), "snr_db"),
    "of the mean": lambda key: numbers(won.get(key, []), "snr_of_mean_db"),
    PAPER: lambda key: said.get(key[0], {}).get(key[1]),
  }
  caption = (
    f"{_MATRIX} over its successes. Of the mean: the square of the noise's mean in "
    "place of its mean square, as the code behind P1's Carlini-Wagner numbers took it: "
    "no SNR, and to be held against them alone (-: rows of an older version). "
    f"{INTERVALS}. {OWN}.{warning}"
  )
  title = f"P1 Table 4: {attack.name}, mean SNR in dB"
  return _matrix(title, pairs, classes, lines, "db", caption)


def success_matrix(attack: Attack, classes: Sequence[str], warning: str = "") -> Grid:
  """Success of a targeted attack, true class x target: the numbers of P1's Figure 2."""
  pairs = _pairs(attack)
  lines = {
    OURS: lambda key: numbers(map(attacked, pairs.get(key, [])), "success"),
    ALL: lambda key: numbers(pairs.get(key, []), "success"),
  }
  caption = (
    f"{_MATRIX} over the clips that it classified right, and over all clips. "
    f"{INTERVALS}.{warning}"
  )
  title = f"P1 Figure 2: {attack.name}, success in %"
  return _matrix(title, pairs, classes, lines, "percent", caption)
