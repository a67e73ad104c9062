"""P1's Figures 1 to 3 of run folders, and three that it doesn't have.

Subramanian et al., Adversarial attacks in sound event classification, 2019. What a
figure shows and over what is said in p1_figures.md, which is written with them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxadv.report import papers
from jaxadv.report.figures import spectrograms
from jaxadv.report.folder import Run
from jaxadv.report.grid import Grid
from jaxadv.report.intervals import Interval, Sample, interval
from jaxadv.report.listening import Clip, find_clips, panels
from jaxadv.report.p1 import per_class
from jaxadv.report.p1_draw import (
  draw_bars,
  draw_counts,
  draw_matrices,
  draw_survival,
)
from jaxadv.report.p1_matrices import success_matrix, table_4
from jaxadv.report.p1_rows import OURS, Attack, attacks_of, method_of, stem_of
from jaxadv.report.p1_spectrum import draw_spectrum, with_paths
from jaxadv.report.summary import attacked, name, successes
from jaxadv.report.tables import escape_markdown

_SHOWN = "Glockenspiel"  # in P1's Figure 3
_MOST_LEVELS = 41
_OVER = "over the clips that the model classified right"


def write_figures(runs: Sequence[Run], folder: Path) -> list[Path]:
  """Writes every figure that there are rows for, PNG and PDF, and their captions.

  runs: each of one victim; their attacks may differ. InputError where a stored WAV is
  bad; a figure of sounds is left out where the WAVs are gone.
  """
  runs = with_paths(runs)
  attacks = attacks_of(runs)
  classes = list(dict.fromkeys(label for run in runs for label in run.classes))
  untargeted = [attack for attack in attacks if not attack.targeted]
  targeted = [attack for attack in attacks if attack.targeted]
  captions = {
    "p1_figure_1": _figure_1(folder / "p1_figure_1", untargeted, classes),
    "p1_figure_2": _figure_2(folder / "p1_figure_2", targeted, classes),
    "p1_figure_3": _figure_3(folder / "p1_figure_3", runs),
    "p1_survival": _survival(folder / "p1_survival", runs, attacks),
  }
  for attack in attacks:
    # a dot would be taken for the start of the file's ending
    stem = stem_of(attack.name).replace(".", "_")
    path = folder / f"p1_per_class_{stem}"
    captions[path.name] = _per_class(path, attack, classes)
    path = folder / f"p1_spectrum_{stem}"
    captions[path.name] = draw_spectrum(path, attack)
  said = {stem: caption for stem, caption in captions.items() if caption}
  index = folder / "p1_figures.md"
  folder.mkdir(parents=True, exist_ok=True)
  lines = [
    f"![]({s}.png)\n\n{escape_markdown(caption)}\n" for s, caption in said.items()
  ]
  index.write_text("\n".join(lines), encoding="utf-8")
  return [index, *(folder / f"{s}.{kind}" for s in said for kind in ("png", "pdf"))]


def _rows(attack: Attack) -> list[dict]:
  return [row for rows in attack.by_model.values() for row in rows]


def new_label_counts(attack: Attack, classes: Sequence[str]) -> list[int]:
  """How many successes, of all models, have each class as their new label."""
  said = [row["new_label"] for row in successes(_rows(attack))]
  return [said.count(label) for label in classes]


def _figure_1(path: Path, attacks: Sequence[Attack], classes: Sequence[str]):
  if not attacks:
    return None
  counts = {attack.name: new_label_counts(attack, classes) for attack in attacks}
  draw_counts(path, counts, classes)
  return (
    "P1 Figure 1: how often each class was the new label of a success, all models "
    f"pooled, {_OVER}. n: successes."
  )


def matrix_of(grid: Grid) -> dict[tuple[str, str], float | None]:
  """(true class, target) -> our number of a grid of p1_matrices."""
  targets = [column.name for column in grid.columns[2:]]
  return {
    (str(row[0]), target): cell.value if isinstance(cell, Interval) else None
    for row in grid.rows
    if row[1] == OURS
    for target, cell in zip(targets, row[2:], strict=True)
  }


def _figure_2(path: Path, attacks: Sequence[Attack], classes: Sequence[str]):
  if not attacks:
    return None
  matrices = {
    attack.name.removesuffix(" (targeted)"): (
      matrix_of(success_matrix(attack, classes)),
      matrix_of(table_4(attack, classes)),
    )
    for attack in attacks
  }
  keys = [key for pair in matrices.values() for matrix in pair for key in matrix]
  labels = [label for label in classes if any(label == key[0] for key in keys)]
  targets = [label for label in classes if any(label == key[1] for key in keys)]
  draw_matrices(path, matrices, labels, targets)
  return (
    "P1 Figure 2: targeted attacks, true class (rows) against target (columns). Left: "
    f"success in %, {_OVER}; right: mean SNR of the successes in dB; both are means "
    "over models. Grey: true class and target are one. Empty: no clip or no success."
  )


def choose_clip(runs: Sequence[Run]) -> tuple[Clip, Run] | None:
  """The clip of P1's Figure 3, with its DeepFool and its Carlini-Wagner only.

  A Glockenspiel that both fooled, else any clip that both fooled; where no clip is, one
  that one of them fooled. The first of them, in the order of the runs and their rows.
  """
  found: list[tuple[Clip, Run]] = []
  for run in runs:
    rows = [row for row in run.rows if row["target"] is None]
    methods = {name(row): method_of(run, row["attack"]) for row in rows}
    wanted: dict[str, str] = {}  # method -> the first attack that is one
    for attack, method in methods.items():
      if method in (papers.DEEPFOOL, papers.CARLINI_WAGNER):
        wanted.setdefault(method, attack)
    kept = [wanted[m] for m in (papers.DEEPFOOL, papers.CARLINI_WAGNER) if m in wanted]
    for clip in find_clips(rows, run.workdir):
      shown = {n: clip.rows[n] for n in kept if n in clip.rows}
      found.append((Clip(clip.label, shown), run))
  found = [(clip, run) for clip, run in found if clip.fooled]
  if not found:
    return None
  return max(found, key=lambda one: (len(one[0].fooled), one[0].label == _SHOWN))


def _figure_3(path: Path, runs: Sequence[Run]):
  chosen = choose_clip(runs)
  if not chosen:
    return None
  clip, run = chosen
  first = next(iter(clip.rows.values()))
  spectrograms(path, panels(clip, run.workdir))
  return (
    f"P1 Figure 3: a clip of {clip.label} ({first['file']}), clean and attacked "
    f"({first['model']}), with the model's label and the SNR; below: perturbations. "
    "Levels of sounds in dBFS, of a perturbation in dB below its loudest bin, whose "
    "level stands above it."
  )


def survival(rows: Sequence[dict], levels_db: Sequence[float]) -> list[Interval | None]:
  """At each level, the share of the attacked clips fooled at an SNR of at least that.

  With bootstrap intervals over clips. A success without an SNR (null, NaN) reaches
  none, one without a perturbation (infinite) all. None: no clip was attacked.
  """
  tried = attacked(rows)
  clips = [row["file"] for row in tried]
  snrs = [
    row["snr_db"] if row["success"] and row["snr_db"] is not None else np.nan
    for row in tried
  ]
  return [
    interval([Sample([float(snr >= level) for snr in snrs], clips)])
    for level in levels_db
  ]


def minimum_norm(attacks: Sequence[Attack], runs: Sequence[Run]) -> list[Attack]:
  """The attacks that no run gives a radius to."""
  limited = {
    attack
    for run in runs
    for attack, entry in (run.config.get("attacks") or {}).items()
    if entry.get("radius") is not None
  }
  return [one for one in attacks if _rows(one)[0]["attack"] not in limited]


def _survival(path: Path, runs: Sequence[Run], attacks: Sequence[Attack]):
  kept = minimum_norm(attacks, runs)
  snrs = [row["snr_db"] for one in kept for row in successes(_rows(one))]
  finite = [snr for snr in snrs if snr is not None and np.isfinite(snr)]
  if not finite:
    return None
  low, high = np.floor(min(finite)), np.ceil(max(finite)) + 1
  levels_db = np.linspace(low, high, min(_MOST_LEVELS, int(high - low) + 1))
  curves = {
    one.name: {
      model: np.array(shares)
      for model, rows in one.by_model.items()
      if None not in (shares := survival(rows, levels_db))
    }
    for one in kept
  }
  draw_survival(path, levels_db, curves)
  return (
    f"Success against SNR of the attacks without a radius, {_OVER}: the share that is "
    "fooled by a perturbation of this SNR or a higher (quieter) one, per model, with "
    "95% bootstrap bands over clips."
  )


def _per_class(path: Path, attack: Attack, classes: Sequence[str]):
  rows = per_class([attack], classes).rows
  shown = [row for row in rows if row[3] is not None]
  if not shown:
    return None
  draw_bars(
    path,
    attack.name,
    [f"{label} ({tried})" for _, label, tried, *_ in shown],
    {
      "success (%)": [_scaled(cell, 100) for *_, cell, _ in shown],
      "median SNR (dB)": [_scaled(cell, 1) for *_, cell in shown],
    },
  )
  return (
    f"{attack.name}: success {_OVER} and median SNR of the successes, per true class, "
    "all models pooled, with 95% bootstrap intervals over clips (none: all "
    "clips agree). In brackets: clips."
  )


def _scaled(cell, factor: float) -> tuple[float, float, float]:
  """value, low, high; NaN where there is no number."""
  if not isinstance(cell, Interval):
    return np.nan, np.nan, np.nan
  value, low, high = cell
  return factor * value, factor * low, factor * high
