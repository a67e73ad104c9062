"""P0's Figure 1 from rows of transforms, and what every transform leaves of an attack.

Subramanian, Benetos, Sandler, Robustness of adversarial attacks in sound event
classification, DCASE 2019.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from jaxadv.report import p0_adaptive, p0_robust
from jaxadv.report.figures import COLOURS, save, shorten
from jaxadv.report.p0_rows import (
  Cells,
  adversarials,
  cells_of,
  only,
  sort_rows,
  split,
  transforms_of,
)
from jaxadv.report.p1_draw import COLUMN_INCHES, PAGE_INCHES, STYLE
from jaxadv.report.p1_rows import models, stem_of
from jaxadv.report.summary import name

_SHOWN = ("reverb", "noise_20")  # in P0's Figure 1
_CELL_INCHES = 0.2
_LINE_INCHES = 0.16
_KINDS = ("png", "pdf")
_MOST_NUMBERS = 20  # classes of a matrix with a number in each cell


def write_figures(rows: Sequence[dict], folder: Path) -> list[Path]:
  """A confusion matrix per model, and bars per attack: PNG and PDF of each.

  Of attacks that knew of transforms: success against the SNR, or by transform.
  """
  sorted_rows = sort_rows(rows)
  folder.mkdir(parents=True, exist_ok=True)
  written = []
  for stem, some, draw in (
    ("p0_adaptive", sorted_rows.adaptive, p0_adaptive.draw),
    ("p0_robust", sorted_rows.robust, p0_robust.draw),
  ):
    if draw(folder / stem, some):
      written.append(folder / stem)
  adversarial = adversarials(sorted_rows.paper)
  for model in models(row["model"] for row in adversarial):
    path = folder / f"p0_figure_1_{stem_of(model).replace('.', '_')}"
    own = [row for row in adversarial if row["model"] == model]
    if draw_confusions(path, own):
      written.append(path)
  if adversarial:
    written.append(folder / "p0_defences")
    draw_defences(written[-1], adversarial)
  return [p.with_name(f"{p.name}.{kind}") for p in written for kind in _KINDS]


def draw_confusions(path: Path, rows: Sequence[dict]) -> bool:
  """True label x label after the transform, all attacks pooled, of one model.

  Reverberation and noise at 20 dB, as in P0; of a run without them the first two
  transforms. In percent of the true class's adversarials. False where there are none.
  """
  named = transforms_of(rows)
  shown = [t for t in _SHOWN if t in named] or named[:2]
  if not shown:
    return False
  classes = sorted({row["label"] for row in rows})
  said = sorted({row["transformed_label"] for row in rows} | set(classes))
  with mpl.rc_context(STYLE):
    width = 1.3 + len(shown) * (0.3 + _CELL_INCHES * len(said))
    height = 1.8 + _CELL_INCHES * len(classes)
    # a model with many classes is shown smaller, and without numbers
    scale = min(1.0, 2 * PAGE_INCHES / width)
    figure = Figure((scale * width, scale * height), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axis, transform in zip(axes, shown, strict=True):
      shares = confusions(only(rows, transform), classes, said)
      axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
      axis.set_title(transform)
      axis.set_xticks(range(len(said)), [shorten(s, 20) for s in said], rotation=90)
      axis.set_yticks(range(len(classes)), [shorten(s, 20) for s in classes])
      axis.set_xlabel("after the transform")
      axis.tick_params(length=0)
      if len(said) <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(shares):
          if value >= 0.5:
            colour = "white" if value > 60 else "black"
            axis.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour)
    axes[0].set_ylabel("true class, %")
    save(figure, path)
  return True


def confusions(
  rows: Sequence[dict], classes: Sequence[str], said: Sequence[str]
) -> np.ndarray:
  """% of each true class's rows with each label after the transform.

  classes: a line each. said: a column each, the classes among them.
  """
  counts = confusion_matrix(
    [row["label"] for row in rows],
    [row["transformed_label"] for row in rows],
    labels=list(said),
  )[[said.index(label) for label in classes]]
  return 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))


def draw_defences(path: Path, rows: Sequence[dict]) -> None:
  """Per attack and transform: still adversarial, right again, neither; a bar each."""
  attacks = list(dict.fromkeys(name(row) for row in rows))
  named = transforms_of(rows)
  colours = (COLOURS[1], COLOURS[0], "#bbbbbb")
  with mpl.rc_context(STYLE):
    size = (
      PAGE_INCHES if len(attacks) > 1 else COLUMN_INCHES,
      1.0 + _LINE_INCHES * len(named) * -(-len(attacks) // 3),
    )
    figure = Figure(size, layout="constrained")
    columns = min(3, len(attacks))
    axes = figure.subplots(-(-len(attacks) // 3), columns, sharey=True, squeeze=False)
    for axis in axes.flat[len(attacks) :]:
      axis.set_visible(False)
    for axis, attack in zip(axes.flat, attacks, strict=False):
      cells: Cells = cells_of(row for row in rows if name(row) == attack)
      found = [
        [part.value if part else 0.0 for part in split(_per(cells, transform))]
        for transform in named
      ]
      left = np.zeros(len(named))
      for n, label in enumerate(("adversarial", "right", "another")):
        share = 100 * np.array([one[n] for one in found])
        axis.barh(range(len(named)), share, left=left, color=colours[n], label=label)
        left += share
      axis.set_title(attack)
      axis.set_yticks(range(len(named)), named)
      axis.set_ylim(len(named) - 0.5, -0.5)
      axis.set_xlim(0, 100)
      axis.set_xlabel("% of the adversarials")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    save(figure, path)


def _per(cells: Cells, transform: str) -> list[list[dict]]:
  return [only(rows, transform) for rows in cells.values()]
