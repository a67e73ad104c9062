"""A model card's figures as PNG and PDF: learning curves, confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxadv.report.figures import COLOURS, PAGE_STYLE, save, shorten

_MOST_NUMBERS = 20  # more classes than this leave no room for the counts


def learning_curves(
  path: Path, history: Sequence[Mapping[str, float]], kept: int
) -> None:
  """Loss and accuracy against the epoch, in training and validation.

  history: epoch, loss, accuracy, validation_loss, validation_accuracy of every epoch.
  kept: the epoch whose variables the victim has.
  """
  epochs = [row["epoch"] for row in history]
  with mpl.rc_context(PAGE_STYLE):
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    for axis, key, label in zip(
      figure.subplots(1, 2),
      ("loss", "accuracy"),
      ("mean cross-entropy", "accuracy"),
      strict=True,
    ):
      shown = ((key, "training batches"), (f"validation_{key}", "validation clips"))
      for (name, said), colour in zip(shown, COLOURS, strict=False):
        values = [row[name] for row in history]
        # a single epoch has no line
        mark = "." if len(values) < 2 else ""
        axis.plot(epochs, values, marker=mark, color=colour, linewidth=1.4, label=said)
      kept_said = f"kept: epoch {kept}"
      axis.axvline(kept, color="0.5", linewidth=0.8, linestyle=":", label=kept_said)
      axis.set_xlabel("epoch")
      axis.set_ylabel(label)
      axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
      axis.grid(linewidth=0.4, alpha=0.5)
      if key == "accuracy":
        axis.set_ylim(-0.02, 1.02)
      else:
        axis.set_ylim(bottom=0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    save(figure, path)


def draw_confusion(path: Path, counts: np.ndarray, classes: Sequence[str]) -> None:
  """Confusion matrix, true classes as rows: colour is the share of the row.

  counts: int [true class, predicted class]; written into the cells of up to 20 classes.
  """
  share = counts / np.maximum(1, counts.sum(1, keepdims=True))
  names = [shorten(name, 24) for name in classes]
  size = 2.2 + 0.24 * len(names)
  with mpl.rc_context(PAGE_STYLE):
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.spines[:].set_visible(True)
    if len(names) <= _MOST_NUMBERS:
      for (i, j), count in np.ndenumerate(counts):
        if count:
          colour = "white" if share[i, j] > 0.6 else "black"
          axis.text(j, i, str(count), ha="center", va="center", color=colour, size=7)
    bar = figure.colorbar(image, ax=axis, fraction=0.04, aspect=28, pad=0.02)
    bar.set_label("share of the true class's clips")
    save(figure, path)
