"""FSDKaggle2018, and people's own recordings in the same layout: which clips there are.

Fonseca et al., General-purpose tagging of Freesound audio with AudioSet labels: task
description, dataset, and baseline, DCASE 2018. Only CSV files are read here.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxadv.errors import InputError

CLASSES = (
  "Acoustic_guitar",
  "Applause",
  "Bark",
  "Bass_drum",
  "Burping_or_eructation",
  "Bus",
  "Cello",
  "Chime",
  "Clarinet",
  "Computer_keyboard",
  "Cough",
  "Cowbell",
  "Double_bass",
  "Drawer_open_or_close",
  "Electric_piano",
  "Fart",
  "Finger_snapping",
  "Fireworks",
  "Flute",
  "Glockenspiel",
  "Gong",
  "Gunshot_or_gunfire",
  "Harmonica",
  "Hi-hat",
  "Keys_jangling",
  "Knock",
  "Laughter",
  "Meow",
  "Microwave_oven",
  "Oboe",
  "Saxophone",
  "Scissors",
  "Shatter",
  "Snare_drum",
  "Squeak",
  "Tambourine",
  "Tearing",
  "Telephone",
  "Trumpet",
  "Violin_or_fiddle",
  "Writing",
)

# split -> (folder of recordings, CSV), the official layout first, then Kaggle's
_LAYOUTS = {
  "train": (
    (
      "FSDKaggle2018.audio_train",
      "FSDKaggle2018.meta/train_post_competition.csv",
    ),
    ("audio_train", "train.csv"),
  ),
  "test": (
    (
      "FSDKaggle2018.audio_test",
      "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
    ),
    ("audio_test", "test_post_competition.csv"),
  ),
}


class Clip(NamedTuple):
  """One recording. `index` is its row in the CSV, from 0: an id that doesn't change
  when clips are left out; `label` counts into `Dataset.classes`."""

  # hides tuple.index, which nobody needs here
  index: int  # pyright: ignore[reportIncompatibleMethodOverride]
  file: str
  path: Path
  label: int
  verified: bool


class Dataset(NamedTuple):
  """The clips of one split in the order of its CSV, and what their labels mean."""

  classes: tuple[str, ...]
  clips: tuple[Clip, ...]


class _Row(NamedTuple):
  number: int
  line: int
  file: str
  label: str
  verified: bool


def read_dataset(
  root: str | Path,
  split: str,
  *,
  classes: Sequence[str] | None = None,
  vocabulary: Sequence[str] | None = CLASSES,
  verified_only: bool = False,
) -> Dataset:
  """The clips that a split's CSV lists; no recording is opened.

  `root` has the official layout, or Kaggle's, or is the word "bundled". `classes`: the
  class list of a victim; None means the sorted names in the CSV, so that leaving out
  unverified clips doesn't renumber them. `vocabulary` None: any label goes. Test clips
  are all verified, as the data set's authors say.

  Raises InputError for a folder or CSV that is missing, and for a CSV that is empty,
  lacks a column, repeats a file, or has a label that isn't allowed.
  """
  if split not in _LAYOUTS:
    raise InputError(f'Unknown split "{split}": use "train" or "test".')
  folder, table = _find_layout(_root_folder(root), split)
  rows = _read_rows(table, split, verified_only)
  if vocabulary is not None:
    _check_vocabulary(rows, frozenset(vocabulary), table)
  names = tuple(sorted({r.label for r in rows}) if classes is None else classes)
  labels = _number_classes(names, rows, table)
  clips = tuple(
    Clip(r.number, r.file, folder / r.file, labels[r.label], r.verified)
    for r in rows
    if r.verified or not verified_only
  )
  if not clips:
    raise InputError(
      f"{table} lists no verified clip: set verified_only to False, or give "
      "another CSV."
    )
  return Dataset(names, clips)


def _root_folder(root: str | Path) -> Path:
  # a Path is always a folder of the user's, even one that is called bundled
  if root == "bundled":
    return Path(__file__).parent / "bundled"
  folder = Path(root)
  if not folder.is_dir():
    raise InputError(
      f"There is no data folder {folder}: give the folder that holds FSDKaggle2018, "
      'or the word "bundled".'
    )
  return folder


def _find_layout(root: Path, split: str) -> tuple[Path, Path]:
  """Folder of recordings and CSV of the layout that `root` has."""
  layouts = _LAYOUTS[split]
  for folder, table in layouts:
    if (root / folder).is_dir():
      if not (root / table).is_file():
        raise InputError(
          f"{root} has {folder} but no {table}, which says what the clips are: "
          "download it next to the recordings."
        )
      return root / folder, root / table
  wanted = " or ".join(f"{folder} with {table}" for folder, table in layouts)
  raise InputError(
    f"{root} holds no {split} recordings: looked for {wanted}; give the folder "
    "that contains one of these."
  )


def _read_rows(table: Path, split: str, verified_only: bool) -> list[_Row]:
  """The rows of a CSV that count, checked for columns, blanks and repeated files."""
  rows, lines = [], {}
  try:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name
    with table.open(newline="", encoding="utf-8-sig") as file:
      reader = csv.DictReader(file)
      needed = ["fname", "label"]
      if verified_only and split == "train":
        needed.append("manually_verified")
      _check_columns(reader.fieldnames, needed, table)
      for index, fields in enumerate(reader):
        row = _parse_row(index, reader.line_num, fields, split, table)
        if row is None:
          continue
        if row.file in lines:
          raise InputError(
            f"{table} lists {row.file} twice, on lines {lines[row.file]} and "
            f"{row.line}: remove one of them."
          )
        lines[row.file] = row.line
        rows.append(row)
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise InputError(
      f"{table} can't be read as a CSV in UTF-8 ({error}): save it again as one."
    ) from error
  if not rows:
    raise InputError(f"{table} lists no clips: give a CSV with a row for each clip.")
  return rows


def _check_columns(
  found: Sequence[str] | None, needed: Sequence[str], table: Path
) -> None:
  if not found:
    raise InputError(f"{table} is empty: give a CSV with a row for each clip.")
  missing = [name for name in needed if name not in found]
  if missing:
    raise InputError(
      f"{table} has no column {' and no column '.join(missing)} (it has "
      f"{', '.join(found)}): add it, with a value for each clip."
    )


def _parse_row(
  index: int, line: int, fields: dict[str, str | None], split: str, table: Path
) -> _Row | None:
  """A row of the CSV, or None where it is one of Kaggle's clips that don't count."""
  file, label = fields["fname"], fields["label"]
  if not file or not label:
    raise InputError(
      f'{table} has no fname or no label on line {line} (fname "{file or ""}", label '
      f'"{label or ""}"): fill it in, or remove the line.'
    )
  if split == "test":
    # Kaggle's test folder holds 7800 clips that were never labelled
    if label == "None" or fields.get("usage") == "Ignored":
      return None
    return _Row(index, line, file, label, True)
  verified = fields.get("manually_verified") or "0"
  if verified not in ("0", "1"):
    raise InputError(
      f'{table} says manually_verified "{verified}" on line {line}: use 0 or 1.'
    )
  return _Row(index, line, file, label, verified == "1")


def _check_vocabulary(rows: list[_Row], allowed: frozenset[str], table: Path) -> None:
  for row in rows:
    if row.label not in allowed:
      raise InputError(
        f'{table} gives {row.file} the label "{row.label}" on line {row.line}, which '
        f"is none of the {len(allowed)} names allowed: correct it, or allow any "
        "label with --config.data.vocabulary=any."
      )


def _number_classes(
  names: tuple[str, ...], rows: list[_Row], table: Path
) -> dict[str, int]:
  """Index of each class, after a check that every label has one."""
  labels = {name: index for index, name in enumerate(names)}
  if len(labels) < len(names):
    repeated = next(name for name in names if names.count(name) > 1)
    raise InputError(f'The class list has "{repeated}" twice: name each class once.')
  for row in rows:
    if row.label not in labels:
      raise InputError(
        f'The label "{row.label}" of {row.file} ({table}, line {row.line}) is not '
        f"among the victim's {len(names)} classes: remove the row, or use a victim "
        "that was trained on this class."
      )
  return labels
