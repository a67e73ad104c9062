"""A summary as tables in the form of P1's, and four ways to write them down."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

MISSING = "-"
# set flush left; all others hold numbers
_TEXT_COLUMNS = (
  *("Attack", "Model", "Guard", "Result", "Said", "Class", "Number", "Transform"),
)
_LATEX = {
  "\\": r"\textbackslash{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  "<": r"\textless{}",
  ">": r"\textgreater{}",
  "|": r"\textbar{}",
} | {c: f"\\{c}" for c in "&%$#_{}"}


class Table(NamedTuple):
  """Formatted cells, ready for any of the renderers."""

  title: str
  columns: tuple[str, ...]
  rows: list[tuple[str, ...]]
  caption: str


def _percent(value: float | None) -> str:
  return MISSING if value is None else f"{100 * value:.2f}"


def _fixed(digits: int) -> Callable[[float | None], str]:
  return lambda value: MISSING if value is None else f"{value:.{digits}f}"


def _table(title: str, spec: Sequence[tuple], summary: list[dict], caption: str):
  """Table of one row per entry; spec: (column, key of the entry, format)."""
  rows = [tuple(form(entry[key]) for _, key, form in spec) for entry in summary]
  return Table(title, tuple(column for column, *_ in spec), rows, caption)


_SUCCESS = ("Success %", "success_rate", _percent)
_NEW = [("New", "new_conf", _fixed(4)), ("GT-new", "gt_new_conf", _fixed(4))]
_SNR = [
  ("SNR median dB", "median_snr_db", _fixed(2)),
  ("SNR mean dB", "mean_snr_db", _fixed(2)),
]
_OVER = (
  "Success: share of the clips that the model classified right, judged again on the "
  "stored example. All other columns are over the successes"
)


def table_2(summary: list[dict]) -> Table:
  """Success, confidences and SNR per attack: the form of P1's Table 2."""
  caption = (
    f"{_OVER}. New: confidence in the new label; GT-new: in the ground truth, both on "
    "the adversarial."
  )
  spec = [("Attack", "name", str), _SUCCESS, *_NEW, *_SNR]
  return _table("Table 2: averages per attack", spec, summary, caption)


def table_3(summary: list[dict]) -> Table:
  """The same per attack and model, with the clean confidence: P1's Table 3."""
  caption = (
    f"{_OVER}. GT: confidence in the ground truth on the clean clip; New, GT-new: as "
    "in Table 2."
  )
  ground_truth = ("GT", "gt_conf", _fixed(4))
  names = [("Attack", "name", str), ("Model", "model", str)]
  spec = [*names, _SUCCESS, ground_truth, *_NEW, *_SNR]
  return _table("Table 3: averages per attack and model", spec, summary, caption)


def judgements(summary: list[dict], skipped: int = 0) -> Table:
  """The three judgements of each attack and how often they disagree.

  skipped: files that never became a row; the caption says how many.
  """
  files = "1 file was" if skipped == 1 else f"{skipped} files were"
  caption = (
    "Rates are over Attacked = Rows - Clean wrong. Loop: as the attack saw it; again: "
    "the stored float32 example, judged at the highest precision; PCM16: after a "
    "16-bit round trip. Differ: attacked clips judged otherwise than in 'again'. "
    f"{files} skipped."
  )
  spec = [
    ("Attack", "name", str),
    ("Rows", "n", str),
    ("Clean wrong", "n_clean_wrong", str),
    ("Attacked", "n_attacked", str),
    ("Loop %", "success_rate_loop", _percent),
    ("Again %", "success_rate", _percent),
    ("PCM16 %", "success_rate_pcm16", _percent),
    ("Loop differs", "disagree_loop", str),
    ("PCM16 differs", "disagree_pcm16", str),
  ]
  return _table("Judgements: loop, again, 16-bit", spec, summary, caption)


def costs(summary: list[dict]) -> Table:
  """Steps and passes per attacked clip, seconds in all."""
  caption = (
    "Steps and passes: means over the attacked clips. Seconds: over all rows, the "
    "share of the device's time without compilation."
  )
  spec = [
    ("Attack", "name", str),
    ("Steps", "mean_steps", _fixed(1)),
    ("Forward", "mean_forward_passes", _fixed(1)),
    ("Backward", "mean_backward_passes", _fixed(1)),
    ("Seconds", "total_seconds", _fixed(1)),
  ]
  return _table("Cost", spec, summary, caption)


def times(usage: Mapping[str, Mapping[str, float]]) -> Table:
  """Where the time of each attack went. usage: of run.json, by attack."""
  caption = (
    "Of the process that ran the attack last, and its clips only. Lanes: examples at "
    "once on a device, of the last bucket. Useful: lane-steps that brought an example "
    "further. Stepping: on the device; cached programs were compiled by an earlier "
    "run; waiting: the device for clips; storing: WAVs, judgements and rows, while the "
    "device steps. Other: what no clock of these measured."
  )
  spec = [
    ("Attack", "name", str),
    ("Rows", "rows", str),
    ("Lanes", "lanes", str),
    ("Useful %", "useful_share", _percent),
    ("Stepping s", "stepping_s", _fixed(1)),
    ("Compiling s", "compiling_s", _fixed(1)),
    ("Cached", "from_cache", str),
    ("Waiting s", "waiting_s", _fixed(1)),
    ("Storing s", "storing_s", _fixed(1)),
    ("Other s", "other_s", _fixed(1)),
    ("Total s", "total_s", _fixed(1)),
  ]
  parts = ("stepping_s", "compiling_s", "waiting_s", "storing_s")
  entries = [
    {
      **note,
      "name": name,
      "useful_share": note["useful"] / note["lane_steps"],
      "other_s": max(0.0, note["total_s"] - sum(note[part] for part in parts)),
    }
    for name, note in usage.items()
  ]
  return _table("Where the time went", spec, entries, caption)


def is_text(column: str) -> bool:
  """Whether the column is set flush left."""
  return column in _TEXT_COLUMNS


def to_text(table: Table) -> str:
  """Title and aligned columns for a terminal, ASCII except for names."""
  lines = [table.columns, *table.rows]
  widths = [max(len(line[n]) for line in lines) for n in range(len(table.columns))]
  sides = ["<" if is_text(column) else ">" for column in table.columns]
  printed = [
    "  ".join(f"{c:{s}{w}}" for c, s, w in zip(line, sides, widths, strict=True))
    for line in lines
  ]
  rule = "-" * max(len(line) for line in printed)
  body = [line.rstrip() for line in printed]
  return "\n".join([table.title, rule, body[0], rule, *body[1:], rule])


def to_markdown(table: Table) -> str:
  """Heading, GitHub table, caption."""
  rule = [":--" if is_text(column) else "--:" for column in table.columns]
  lines = [[escape_markdown(cell) for cell in line] for line in table.rows]
  grid = [f"| {' | '.join(line)} |" for line in [table.columns, rule, *lines]]
  return "\n".join([f"## {table.title}", "", *grid, "", table.caption, ""])


def to_csv(table: Table) -> str:
  """Columns and cells; the title and the caption are left out."""
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
  return text.getvalue()


def to_latex(table: Table) -> str:
  """A booktabs table environment with caption."""
  lines = [[_escape_latex(cell) for cell in line] for line in table.rows]
  head = " & ".join(_escape_latex(column) for column in table.columns)
  return "\n".join(
    [
      r"\begin{table}  % needs \usepackage{booktabs}",
      r"\centering",
      rf"\caption{{{_escape_latex(table.caption)}}}",
      rf"\begin{{tabular}}{{{''.join('lr'[not is_text(c)] for c in table.columns)}}}",
      r"\toprule",
      head + r" \\",
      r"\midrule",
      *(" & ".join(line) + r" \\" for line in lines),
      r"\bottomrule",
      r"\end{tabular}",
      r"\end{table}",
      "",
    ]
  )


def write_tables(folder: Path, made: Mapping[str, Table]) -> None:
  """Writes each table as STEM.md, STEM.csv and STEM.tex."""
  folder.mkdir(exist_ok=True)
  for stem, table in made.items():
    for suffix, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
      (folder / f"{stem}.{suffix}").write_text(render(table), encoding="utf-8")


def escape_markdown(cell: str) -> str:
  """The text, so that Markdown shows it as it is."""
  return "".join(f"\\{c}" if c in r"\|<&*`[" else c for c in cell)


def _escape_latex(text: str) -> str:
  return "".join(_LATEX.get(c, c) for c in text)
