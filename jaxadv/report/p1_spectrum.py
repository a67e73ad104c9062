"""Where a perturbation sits in its clip's spectrogram: numbers, a table and a figure.

A frame of 1024 samples (32 ms at 32 kHz; hop 512) is active if its RMS is within 40 dB
of that of the clip's loudest frame. The energy of a band is the sum over frames of
sum_k m[k] |X[k]|^2, with m a triangle of librosa's mel filters (64 of them, Slaney's
scale, height 1: where two overlap they add up to 1, so that no energy counts twice).
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import librosa
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxadv.report.figures import save
from jaxadv.report.folder import Run
from jaxadv.report.grid import Cell, Column, Grid
from jaxadv.report.intervals import Interval, Sample, interval
from jaxadv.report.listening import Clip, panels
from jaxadv.report.p1_draw import COLUMN_INCHES, STYLE
from jaxadv.report.p1_rows import INTERVALS, Attack, attacks_of
from jaxadv.report.spectrogram import FLOOR_DB
from jaxadv.report.summary import successes

FRAME, HOP, MELS = 1024, 512, 64
ACTIVE_DB = 40.0
ACTIVE, OUTSIDE = 0, 1  # first axis of the energies
_TICKS_KHZ = (0.5, 1, 2, 4, 8, 16)
_COLOUR = "#D55E00"
_SHOWN_DB = 110.0  # below the clip's loudest band: what is quieter is of no interest
DEFINITION = (
  f"A frame (32 ms) is active if its RMS is within {ACTIVE_DB:.0f} dB of the clip's "
  "loudest one"
)


class Energies(NamedTuple):
  """One clip and its perturbation. clip, perturbation: energy [active or not, band]."""

  clip: np.ndarray
  perturbation: np.ndarray
  clip_energy: float  # of all bins and frames
  share_outside: float  # of the perturbation's energy: what isn't in active frames
  frames: np.ndarray  # how many are active, and how many are not
  clip_hz: float  # centroids: sum f |X(f)|^2 / sum |X(f)|^2, over the whole clip
  perturbation_hz: float
  rate_hz: int

  @property
  def frames_outside(self) -> float:
    """Of the clip's frames, the share that isn't active."""
    return float(self.frames[OUTSIDE] / self.frames.sum())


@functools.lru_cache(maxsize=4)
def _filters(rate_hz: int) -> np.ndarray:
  return librosa.filters.mel(sr=rate_hz, n_fft=FRAME, n_mels=MELS, norm=None)


def centres_hz(rate_hz: int) -> np.ndarray:
  """Where the triangles peak, [MELS]."""
  return librosa.mel_frequencies(MELS + 2, fmin=0.0, fmax=rate_hz / 2)[1:-1]


def active_frames(samples: np.ndarray) -> np.ndarray:
  """Which frames are within ACTIVE_DB of the loudest, bool [frames]; all of silence."""
  level = librosa.feature.rms(y=samples, frame_length=FRAME, hop_length=HOP)[0]
  return level >= level.max() * 10 ** (-ACTIVE_DB / 20)


def _power(samples: np.ndarray, active: np.ndarray) -> np.ndarray:
  """Energy [active or not, bin], Hann window, frames centred and padded with zeros."""
  spectrum = librosa.stft(
    samples, n_fft=FRAME, hop_length=HOP, pad_mode="constant", dtype=np.complex128
  )
  power = np.abs(spectrum) ** 2
  return np.stack([power[:, active].sum(1), power[:, ~active].sum(1)])


def band_energies(
  clean: np.ndarray, adversarial: np.ndarray, rate_hz: int
) -> Energies | None:
  """Energies of a clip and its perturbation, both [samples]; None if either is 0."""
  clean = np.asarray(clean, np.float64)
  delta = adversarial - clean
  if not (np.any(clean) and np.any(delta)):
    return None
  active = active_frames(clean)
  clip, perturbation = _power(clean, active), _power(delta, active)
  hz = librosa.fft_frequencies(sr=rate_hz, n_fft=FRAME)
  return Energies(
    clip @ _filters(rate_hz).T,
    perturbation @ _filters(rate_hz).T,
    clip_energy=float(clip.sum()),
    share_outside=float(perturbation[OUTSIDE].sum() / perturbation.sum()),
    frames=np.array([active.sum(), (~active).sum()]),
    clip_hz=float(np.average(hz, weights=clip.sum(0))),
    perturbation_hz=float(np.average(hz, weights=perturbation.sum(0))),
    rate_hz=rate_hz,
  )


def levels_db(energies: Iterable[Energies], region: int) -> tuple[np.ndarray, ...]:
  """Levels of clips and of perturbations in a region, dB, both [clips, bands].

  A band's energy per frame of the region, relative to the clip's energy per frame, over
  all bands and frames: 0 dB at a sine that lasts as long as the clip. Clips without a
  frame in the region are left out.
  """
  kept = [one for one in energies if one.frames[region]]
  found = []
  for part in ("clip", "perturbation"):
    relative = [
      (getattr(one, part)[region] / one.frames[region])
      / (one.clip_energy / one.frames.sum())
      for one in kept
    ]
    floored = np.maximum(np.reshape(relative, (-1, MELS)), 10 ** (FLOOR_DB / 10))
    found.append(10 * np.log10(floored))
  return tuple(found)


@functools.cache  # for the table and the figure; a few KB each
def _of_files(wav_clean: Path, wav: Path) -> Energies | None:
  row = {"wav_clean": wav_clean, "wav": wav, "new_label": "", "snr_db": None}
  original, adversarial = panels(Clip("", {"": row}), Path())
  return band_energies(original.samples, adversarial.samples, original.rate_hz)


class Measured(NamedTuple):
  """The successes of an attack on a model whose WAVs are there: row and energies."""

  rows: list[dict]
  energies: list[Energies]


def with_paths(runs: Iterable[Run]) -> list[Run]:
  """The runs, their rows' WAVs as paths that need no run; null where a file is gone."""
  return [
    run._replace(
      rows=[
        row
        | {
          key: _path(run.workdir, row[key]) for key in ("wav", "wav_pcm16", "wav_clean")
        }
        for row in run.rows
      ]
    )
    for run in runs
  ]


def _path(workdir: Path, name: str | None) -> Path | None:
  path = workdir.resolve() / name if name else None
  return path if path and path.is_file() else None


def measure(attack: Attack) -> dict[str, Measured]:
  """Energies of an attack's successes per model, rows as of `with_paths`."""
  found = {model: Measured([], []) for model in attack.by_model}
  for model, rows in attack.by_model.items():
    for row in successes(rows):
      if row["wav"] and row["wav_clean"]:
        energies = _of_files(row["wav_clean"], row["wav"])
        if energies:
          found[model].rows.append(row)
          found[model].energies.append(energies)
  return found


def spectrum_table(runs: Sequence[Run]) -> Grid:
  """Where the perturbation's energy is, in time and frequency, per attack and model."""
  rows: list[tuple[Cell, ...]] = []
  for attack in attacks_of(with_paths(runs)):
    for model, measured in measure(attack).items():
      energies = measured.energies
      silent = sum(bool(one.frames[OUTSIDE]) for one in energies)
      cells = [
        _mean(measured, field)
        for field in ("share_outside", "frames_outside", "perturbation_hz", "clip_hz")
      ]
      rows.append((attack.name, model, len(energies), silent, *cells))
  columns = (
    *(Column("Attack"), Column("Model"), Column("Clips"), Column("With pauses")),
    *(Column("Energy outside %", "percent"), Column("Frames outside %", "percent")),
    *(Column("Centroid Hz", "hz"), Column("Clip's centroid Hz", "hz")),
  )
  caption = (
    "Means over the successes whose WAVs are stored. Outside: of the perturbation's "
    "energy, and of the clip's frames, the share that is not in active frames. "
    f"{DEFINITION}. With pauses: clips that have others. Centroid: mean frequency, "
    f"weighted by energy, of the perturbation and of the clip. {INTERVALS}."
  )
  return Grid("The perturbation's place in the spectrogram", columns, rows, caption)


def _mean(measured: Measured, field: str) -> Interval | None:
  values = [float(getattr(one, field)) for one in measured.energies]
  return interval([Sample(values, [row["file"] for row in measured.rows])])


def draw_spectrum(path: Path, attack: Attack) -> str | None:
  """Writes levels per band in active frames and in others; the caption, or None.

  None, and no file, where there is no success with stored WAVs.
  """
  energies = [one for some in measure(attack).values() for one in some.energies]
  if not energies:
    return None
  with mpl.rc_context(STYLE):
    figure = Figure(figsize=(COLUMN_INCHES, 2.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for region, axis in enumerate(axes):
      clips, perturbations = levels_db(energies, region)
      axis.set_title(f"{('active', 'other')[region]} frames\n({len(clips)} clips)")
      _draw_bands(axis, clips, "0.35", "--", "clip")
      _draw_bands(axis, perturbations, _COLOUR, "-", "perturbation")
      centres = centres_hz(energies[0].rate_hz) / 1000
      ticks = [khz for khz in _TICKS_KHZ if khz <= centres[-1]]
      places = np.interp(ticks, centres, range(MELS))
      axis.set_xticks(places, [f"{khz:g}" for khz in ticks])
      axis.set_xlabel("mel band (kHz)")
      axis.grid(linewidth=0.4, alpha=0.5)
    top_db = levels_db(energies, ACTIVE)[0].max()
    axes[0].set_ylim(bottom=max(axes[0].get_ylim()[0], top_db - _SHOWN_DB))
    axes[0].set_ylabel("level of the band (dB)")
    handles, labels = axes[0].get_legend_handles_labels()
    place = {"loc": "outside upper center", "ncols": 2, "frameon": False}
    figure.legend(handles, labels, title=attack.name, title_fontsize=8, **place)
    save(figure, path)
  return (
    f"{attack.name}, its successes on all models: energy of the clips and of their "
    "perturbations in each of 64 mel bands, per frame, relative to the clip's energy "
    "per frame over all bands and frames; median and quartiles over clips. "
    f"{DEFINITION}; clips without other frames are not in the right panel."
  )


def _draw_bands(axis: Axes, levels: np.ndarray, colour, line, label) -> None:
  """Median and quartiles of levels [clips, bands]; nothing where there is no clip."""
  if len(levels):
    low, middle, high = np.percentile(levels, (25, 50, 75), axis=0)
    axis.fill_between(range(MELS), low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(middle, line, color=colour, linewidth=1.2, label=label)
