"""P1's figures as PNG and PDF, through matplotlib's objects (no pyplot, no display)."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxadv.report import spectrogram
from jaxadv.report.summary import attacked, group, successes

# Okabe and Ito, Color Universal Design, 2008; without yellow, too faint for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = "osD^vP"
LINES = ("-", "--", ":")  # the next one when the colours are used up
COLOUR_MAP = "magma"
SOUND_RANGE_DB, PERTURBATION_RANGE_DB = 80.0, 60.0
_PER_ROW = 5  # adversarials beside one another in a figure
_MOST_CLASSES = 60  # more names than this cannot be read side by side
PAGE_STYLE: dict[Any, Any] = {
  "font.size": 9,
  "axes.titlesize": 9,
  "axes.labelsize": 9,
  "xtick.labelsize": 8,
  "ytick.labelsize": 8,
  "legend.fontsize": 8.5,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.linewidth": 0.6,
  "text.parse_math": False,  # a class name may hold a dollar sign
  "pdf.fonttype": 42,  # journals refuse Type 3 fonts
}


class Panel(NamedTuple):
  """One sound of the spectrogram figure; the first panel is the original."""

  title: str  # "original" or the attack
  label: str  # what the model says of it
  snr_db: float | None
  samples: np.ndarray
  rate_hz: int


def save(figure: Figure, path: Path) -> None:
  """Writes PNG and PDF of the same stem; equal input gives equal bytes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  FigureCanvasAgg(figure)
  figure.savefig(path.with_suffix(".png"), dpi=150)
  figure.savefig(path.with_suffix(".pdf"), dpi=150, metadata={"CreationDate": None})


def spectrograms(path: Path, panels: Sequence[Panel]) -> None:
  """One clip, its adversarials, and below each its perturbation (P1 fig. 3).

  All sounds share one colour scale in dBFS. Each perturbation has its own, from its
  peak (in its title) down. A new pair of rows begins after _PER_ROW adversarials.
  """
  original, adversarials = panels[0], panels[1:]
  columns = 1 + min(_PER_ROW, len(adversarials))
  blocks = max(1, math.ceil(len(adversarials) / _PER_ROW))
  top_db = spectrogram.peak_db(spectrogram.level_db(original.samples))
  with mpl.rc_context(PAGE_STYLE):
    size = (1.3 + 1.65 * columns, 4.2 * blocks)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2 * blocks, columns, squeeze=False)
    for axis in axes.flat:
      axis.set_axis_off()
    sound = _draw_sound(axes[0, 0], original, top_db)
    axes[0, 0].set_xlabel("time (s)")
    left = [axes[0, 0]]  # of each row: they carry the frequencies
    for block in range(blocks):
      above, below = axes[2 * block], axes[2 * block + 1]
      _colour_bar(figure, sound, above, "level (dBFS)")
      shown = zip(above[1:], below[1:], adversarials[_PER_ROW * block :], strict=False)
      for n, (over, under, panel) in enumerate(shown):
        _draw_sound(over, panel, top_db)
        difference = _draw_difference(under, panel, original)
        if n == 0:  # one bar reads for all: each is relative to its own peak
          _colour_bar(figure, difference, below, "level below\nthe panel's peak (dB)")
          left += [over, under] if block else [under]
    for axis in left:
      axis.set_ylabel("frequency (kHz)")
      axis.tick_params(labelleft=True)
    save(figure, path)


def _colour_bar(figure: Figure, image, axes: np.ndarray, label: str) -> None:
  bar = figure.colorbar(image, ax=list(axes.flat), fraction=0.05, aspect=18, pad=0.01)
  bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
  bar.set_label(label)


def _draw(axis: Axes, level: np.ndarray, duration_s: float, rate_hz: int, limits):
  axis.set_axis_on()
  axis.tick_params(labelleft=False)
  axis.xaxis.set_major_locator(MaxNLocator(4))
  return axis.imshow(
    level,
    origin="lower",
    aspect="auto",
    extent=(0, duration_s, 0, rate_hz / 2000),
    cmap=COLOUR_MAP,
    vmin=limits[0],
    vmax=limits[1],
    interpolation="antialiased",
  )


def _draw_sound(axis: Axes, panel: Panel, top_db: float):
  level = spectrogram.level_db(panel.samples, columns=600)
  lines = [panel.title, shorten(panel.label, 22)]
  if panel.snr_db is not None:
    lines.append(print_snr(panel.snr_db))
  axis.set_title("\n".join(lines))
  limits = (top_db - SOUND_RANGE_DB, top_db)
  return _draw(axis, level, len(panel.samples) / panel.rate_hz, panel.rate_hz, limits)


def _draw_difference(axis: Axes, panel: Panel, original: Panel):
  samples, rate_hz = panel.samples - original.samples, panel.rate_hz
  level = spectrogram.level_db(samples, columns=600)
  top_db = spectrogram.peak_db(level)
  silent = not np.any(samples)
  said = "no perturbation" if silent else f"perturbation\npeak {top_db:.0f} dBFS"
  axis.set_title(said.replace("-", "\N{MINUS SIGN}"))
  axis.set_xlabel("time (s)")
  level = level - top_db if not silent else np.full_like(level, -PERTURBATION_RANGE_DB)
  limits = (-PERTURBATION_RANGE_DB, 0)
  return _draw(axis, level, len(samples) / rate_hz, rate_hz, limits)


def print_snr(snr_db: float) -> str:
  """The SNR with its unit; infinite where there is no perturbation."""
  return "SNR ∞ dB" if math.isinf(snr_db) else f"SNR {snr_db:.1f} dB"


def shorten(text: str, most: int) -> str:
  """The text, cut to `most` characters with an ellipsis."""
  return text if len(text) <= most else text[: most - 1] + "…"


def label_counts(rows: Iterable[dict]) -> dict[str, Counter]:
  """How often each new label was reached, over the successes, per attack."""
  return {
    name: Counter(row["new_label"] for row in successes(members))
    for name, members in group(rows).items()
  }


def new_labels(path: Path, rows: Sequence[dict], classes: Sequence[str]) -> None:
  """Histogram of the new labels per attack, over the successes (P1 fig. 1).

  All classes in their order; of more than 60, the most frequent new labels only.
  """
  counts = label_counts(rows)
  total = sum(counts.values(), Counter())
  names = list(dict.fromkeys([*classes, *sorted(total)]))
  shown = "new label"
  if len(names) > _MOST_CLASSES:
    shown = f"new label: the {_MOST_CLASSES} most frequent of {len(names)} classes"
    kept = {name for name, _ in total.most_common(_MOST_CLASSES)}
    names = [name for name in names if name in kept]
  printed = [shorten(name, 30) for name in names]
  below = 0.4 + 0.07 * max(map(len, printed), default=0)  # inches of upright names
  with mpl.rc_context(PAGE_STYLE):
    size = (max(5.0, 1 + 0.175 * len(names)), below + 1.2 * len(counts))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(counts), 1, squeeze=False, sharex=True)[:, 0]
    for n, (axis, (attack, count)) in enumerate(zip(axes, counts.items(), strict=True)):
      heights = [count[name] for name in names]
      axis.bar(range(len(names)), heights, 0.8, color=COLOURS[n % len(COLOURS)])
      axis.set_title(f"{attack}: {count.total()} fooled", loc="left")
      axis.set_ylabel("clips")
      axis.set_ylim(0, 1.05 * max([1, *heights]))
      axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
      axis.grid(axis="y", linewidth=0.4, alpha=0.5)
      axis.set_axisbelow(True)
      axis.tick_params(axis="x", length=0)
    axes[-1].set_xlim(-0.6, max(len(names), 1) - 0.4)
    axes[-1].set_xticks(range(len(names)), printed, rotation=90)
    axes[-1].set_xlabel(shown)
    save(figure, path)


def success_curve(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
  """Where the share of fooled clips rises: falling SNRs in dB, the share from each on.

  share[k] = (successes with SNR >= snr_db[k]) / attacked rows. Successes without an SNR
  (null or NaN) are left out of the numerator.
  """
  tried = attacked(rows)
  known = [row["snr_db"] for row in successes(rows) if row["snr_db"] is not None]
  levels, counts = np.unique([snr for snr in known if snr == snr], return_counts=True)
  return levels[::-1], np.cumsum(counts[::-1]) / max(1, len(tried))


def success_against_snr(path: Path, rows: Sequence[dict]) -> None:
  """Share of attacked clips fooled at this SNR or a higher one, a curve per attack.

  An attack whose every clip was misclassified before has no share, and no curve.
  """
  curves = {name: success_curve(members) for name, members in group(rows).items()}
  tried = group(attacked(rows))
  finite = [snr for levels, _ in curves.values() for snr in levels if np.isfinite(snr)]
  left, right = (max(finite) + 3, min(finite) - 3) if finite else (60.0, 0.0)
  with mpl.rc_context(PAGE_STYLE):
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.add_subplot()
    for n, (name, (levels, share)) in enumerate(curves.items()):
      if name not in tried:
        continue
      # an infinite SNR lies left of the axis: its share is where the curve starts
      x = np.clip([left, *levels, right], right, left)
      y = 100 * np.concatenate([[0], share, share[-1:] if len(share) else [0]])
      colour, line = COLOURS[n % len(COLOURS)], LINES[n // len(COLOURS) % len(LINES)]
      axis.step(x, y, line, where="post", color=colour, linewidth=1.6, label=name)
    axis.set_xlim(left, right)
    axis.set_ylim(-2, 102)
    axis.set_xlabel("SNR of the perturbation (dB): quieter to the left")
    axis.set_ylabel("clips fooled at this SNR or above (%)")
    axis.grid(linewidth=0.4, alpha=0.5)
    if tried:
      figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)
