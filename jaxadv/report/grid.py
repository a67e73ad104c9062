"""Tables of numbers with intervals: one form to be read, one for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxadv.report.intervals import Interval
from jaxadv.report.tables import MISSING, Table, to_csv, to_latex, to_markdown

Cell = str | int | float | Interval | None

# kind -> factor, digits of the number, digits of its interval
_FORMS = {
  "percent": (100.0, 2, 1),
  "share": (1.0, 4, 2),
  "db": (1.0, 2, 1),
  "hz": (1.0, 0, 0),
}


class Column(NamedTuple):
  """kind: "text", "percent" (of a fraction), "share", "db" or "hz"."""

  name: str
  kind: str = "text"


class Grid(NamedTuple):
  """Cells in full precision. A str is shown as it is, in every column."""

  title: str
  columns: tuple[Column, ...]
  rows: list[tuple[Cell, ...]]
  caption: str


def to_table(grid: Grid) -> Table:
  """Rounded, an interval beside its number: "97.56 [95.1, 99.2]"."""
  rows = [
    tuple(_shown(cell, column.kind) for cell, column in _pairs(grid, row))
    for row in grid.rows
  ]
  names = tuple(column.name for column in grid.columns)
  return Table(grid.title, names, rows, grid.caption)


def to_numbers(grid: Grid) -> Table:
  """6 digits, the ends of an interval in columns of their own: NAME_low, NAME_high."""
  names: list[str] = []
  for name, kind in grid.columns:
    names += [name] if kind == "text" else [name, f"{name}_low", f"{name}_high"]
  rows = [
    tuple(text for cell, column in _pairs(grid, row) for text in _numbers(cell, column))
    for row in grid.rows
  ]
  return Table(grid.title, tuple(names), rows, grid.caption)


def write_grids(folder: Path, grids: Mapping[str, Grid]) -> None:
  """STEM.md and STEM.tex to be read, STEM.csv with the intervals' ends in columns."""
  folder.mkdir(parents=True, exist_ok=True)
  for stem, grid in grids.items():
    shown = to_table(grid)
    for suffix, text in (
      ("md", to_markdown(shown)),
      ("tex", to_latex(shown)),
      ("csv", to_csv(to_numbers(grid))),
    ):
      (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")


def _pairs(grid: Grid, row: tuple[Cell, ...]):
  return zip(row, grid.columns, strict=True)


def _shown(cell: Cell, kind: str) -> str:
  if cell is None:
    return MISSING
  if kind == "text" or isinstance(cell, str):
    return str(cell)
  factor, digits, rough = _FORMS[kind]
  if isinstance(cell, Interval):
    value, low, high = (factor * number for number in cell)
    return f"{value:.{digits}f} [{low:.{rough}f}, {high:.{rough}f}]"
  return f"{factor * cell:.{digits}f}"


def _numbers(cell: Cell, column: Column) -> tuple[str, ...]:
  if column.kind == "text":
    return ("" if cell is None else str(cell),)
  if cell is None or isinstance(cell, str):
    return (cell or "", "", "")
  factor = _FORMS[column.kind][0]
  ends = cell if isinstance(cell, Interval) else (cell,)
  texts = [f"{factor * number:.6g}" for number in ends]
  return (*texts, *[""] * (3 - len(texts)))
