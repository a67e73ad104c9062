"""Listening cards: which clips, their sounds, differences and thumbnails."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
import soundfile
from PIL import Image

from jaxadv.errors import InputError
from jaxadv.report import spectrogram
from jaxadv.report.figures import (
  COLOUR_MAP,
  PERTURBATION_RANGE_DB,
  SOUND_RANGE_DB,
  Panel,
  print_snr,
)
from jaxadv.report.summary import attacked, judgements_differ, name

_WAVS = ("wav", "wav_pcm16", "wav_clean")
_PALETTE = mpl.colormaps[COLOUR_MAP](range(256), bytes=True)[:, :3].tobytes()
_PEAK_DBFS = -3.0  # of a difference as it is played


class Clip(NamedTuple):
  """A clip and its row under each attack."""

  label: str
  rows: dict[str, dict]  # printed name of the attack -> row

  @property
  def fooled(self) -> list[str]:
    return [attack for attack, row in self.rows.items() if row["success"]]


class Attempt(NamedTuple):
  """One attack on one clip, as the page shows it. Paths are URLs inside the folder."""

  attack: str
  row: dict
  snr: str
  sound: str
  picture: str
  difference: str | None  # None: no perturbation
  difference_picture: str
  loudness: str  # "played 47 dB louder"
  verdicts: str  # says what the judgements were where they differ, else empty


class Card(NamedTuple):
  """One clip with all its attempts."""

  label: str
  file: str
  duration_s: float
  rate_hz: int
  sound: str
  picture: str
  attempts: list[Attempt]


def find_clips(rows: Sequence[dict], workdir: Path) -> list[Clip]:
  """Attacked clips whose WAVs are all still there, in row order.

  A clip has one row per attack; of several (many targets), the first success or else
  the first.
  """
  clips: dict[str, Clip] = {}
  for row in attacked(rows):
    if all(row[key] and (workdir / row[key]).is_file() for key in _WAVS):
      clip = clips.setdefault(row["file"] or row["wav_clean"], Clip(row["label"], {}))
      shown = clip.rows.get(name(row))
      if shown is None or (row["success"] and not shown["success"]):
        clip.rows[name(row)] = row
  return list(clips.values())


def choose(clips: Sequence[Clip], most: int) -> list[Clip]:
  """Up to `most` clips: spread over classes, fooled by many attacks, spread over these.

  Greedy and deterministic: the next clip is of the class shown least so far; among
  those, the one fooled by most attacks; then by the attacks whose successes were shown
  least; then the first.
  """
  left, chosen = list(clips), []
  classes, attacks = Counter(), Counter()
  while left and len(chosen) < most:
    best = min(
      left,
      key=lambda clip: (
        classes[clip.label],
        -len(clip.fooled),
        sum(attacks[attack] for attack in clip.fooled),
      ),
    )
    left.remove(best)
    chosen.append(best)
    classes[best.label] += 1
    attacks.update(best.fooled)
  return chosen


def panels(clip: Clip, workdir: Path) -> list[Panel]:
  """The clip and its adversarials for the spectrogram figure."""
  first = next(iter(clip.rows.values()))
  samples, rate_hz = _read(workdir / first["wav_clean"])
  made = [Panel("original", clip.label, None, samples, rate_hz)]
  for attack, row in clip.rows.items():
    adversarial = _read_like(workdir / row["wav"], samples)
    snr_db = row["snr_db"]
    made.append(Panel(attack, row["new_label"], snr_db, adversarial, rate_hz))
  return made


def make_card(clip: Clip, number: int, workdir: Path) -> Card:
  """Writes the card's pictures and sounds to workdir/page and describes it."""
  first = next(iter(clip.rows.values()))
  samples, rate_hz = _read(workdir / first["wav_clean"])
  stem = workdir / "page" / f"{number:02d}-original"
  stem.parent.mkdir(parents=True, exist_ok=True)
  level = spectrogram.level_db(samples)
  top_db = spectrogram.peak_db(level)
  attempts = [
    _attempt(attack, row, samples, top_db, workdir, f"{number:02d}-{n}")
    for n, (attack, row) in enumerate(clip.rows.items(), 1)
  ]
  return Card(
    label=clip.label,
    file=first["file"] or "",
    duration_s=len(samples) / rate_hz,
    rate_hz=rate_hz,
    sound=_url(_playable(workdir / first["wav_clean"], stem), workdir),
    picture=_url(_picture(stem, level, top_db, SOUND_RANGE_DB), workdir),
    attempts=attempts,
  )


def _attempt(
  attack: str, row: dict, clean: np.ndarray, top_db: float, workdir: Path, number: str
) -> Attempt:
  stem = workdir / "page" / number
  adversarial = _read_like(workdir / row["wav"], clean)
  rate_hz = soundfile.info(workdir / row["wav"]).samplerate
  difference = adversarial - clean
  level = spectrogram.level_db(difference)
  own_top_db = spectrogram.peak_db(level) if np.any(difference) else 0.0
  below = _picture(
    stem.with_name(f"{number}-difference"), level, own_top_db, PERTURBATION_RANGE_DB
  )
  heard = spectrogram.level_db(adversarial)
  above = stem.with_name(f"{number}-adversarial")
  played, loudness = _amplified(
    stem.with_name(f"{number}-difference.wav"), difference, rate_hz
  )
  return Attempt(
    attack=attack,
    row=row,
    snr=print_snr(row["snr_db"]),
    sound=_url(workdir / row["wav_pcm16"], workdir),
    picture=_url(_picture(above, heard, top_db, SOUND_RANGE_DB), workdir),
    difference=played and _url(played, workdir),
    difference_picture=_url(below, workdir),
    loudness=loudness,
    verdicts=_verdicts(row),
  )


def _verdicts(row: dict) -> str:
  if not judgements_differ(row):
    return ""
  said = {True: "fooled", False: "not fooled", None: "not judged"}
  judges = {"loop": "success_loop", "again": "success", "16-bit": "success_pcm16"}
  return ", ".join(f"{judge}: {said[row[key]]}" for judge, key in judges.items())


def gain_db(difference: np.ndarray) -> float | None:
  """What brings the peak to -3 dBFS; None for silence."""
  peak = float(np.abs(difference).max(initial=0.0))
  return _PEAK_DBFS - 20 * math.log10(peak) if peak > 0 else None


def _amplified(
  path: Path, difference: np.ndarray, rate_hz: int
) -> tuple[Path | None, str]:
  gain = gain_db(difference)
  if gain is None:
    return None, "none: the clip is unchanged"
  soundfile.write(path, difference * 10 ** (gain / 20), rate_hz, subtype="PCM_16")
  return path, f"played {abs(gain):.0f} dB {'louder' if gain >= 0 else 'quieter'}"


def _playable(path: Path, stem: Path) -> Path:
  """The WAV if it is 16-bit, else a copy that is: some browsers play no float."""
  if soundfile.info(path).subtype == "PCM_16":
    return path
  copy = stem.with_suffix(".wav")
  soundfile.write(copy, *_read(path), subtype="PCM_16")
  return copy


def _picture(stem: Path, level: np.ndarray, top_db: float, range_db: float) -> Path:
  # a page holds a hundred: a figure with axes takes 100 ms, RGBA 23 ms, a palette 2 ms
  path = stem.with_suffix(".png")
  image = Image.fromarray(spectrogram.thumbnail(level, top_db, range_db))
  image.putpalette(_PALETTE)
  image.save(path)
  return path


def _url(path: Path, workdir: Path) -> str:
  return quote(path.relative_to(workdir).as_posix())


def _read(path: Path) -> tuple[np.ndarray, int]:
  try:
    return soundfile.read(path, dtype="float32")
  except soundfile.LibsndfileError as error:
    raise InputError(f"{path} cannot be read as WAV: {error}") from error


def _read_like(path: Path, clean: np.ndarray) -> np.ndarray:
  samples, _ = _read(path)
  if samples.shape != clean.shape:
    raise InputError(
      f"{path} has shape {samples.shape}, its clean clip {clean.shape}: both must be "
      "mono and of one length."
    )
  return samples
