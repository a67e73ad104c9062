"""Stored adversarials and clean clips of runs: those that go through transforms."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv import build, entries
from jaxadv.errors import InputError
from jaxadv.report.folder import Run
from jaxadv.report.p0_rows import SEPARATOR
from jaxadv.report.p1_rows import method_of
from jaxadv.transforms import Transform

_COPIED = (
  *("id", "attack", "model", "file", "label", "target"),
  *("snr_db", "new_label", "new_conf"),
)


class Example(NamedTuple):
  """A WAV, and what its rows will say of it. clip_id: folds into the random keys."""

  wav: Path
  clip_id: str
  fields: dict[str, Any]


def choose_attacks(runs: Sequence[Run], only: str) -> list[str]:
  """The attacks that `only` names, or all. InputError for one that no run has."""
  known = list(dict.fromkeys(row["attack"] for run in runs for row in run.rows))
  wanted = only.split(",") if only else known
  for attack in wanted:
    if attack not in known:
      raise InputError(
        f"only has {attack!r}: the sources' attacks are {', '.join(known)}"
      )
  return wanted


def choose_examples(
  runs: Sequence[Run],
  attacks: Sequence[str],
  settings: Mapping[str, Any],
  listed: Sequence[Transform],
) -> list[Example]:
  """The adversarials that succeeded, and the clean clips that were classified right.

  With examples="all", adversarials that failed too; clean clips that were misclassified
  have none. wavs: "wav" (float32) or "wav_pcm16", the column with the file; new_label,
  new_conf and snr_db are as the attack's row has them, of the float32 file.
  """
  wavs, which = settings["wavs"], settings["examples"]
  verdict = {"wav": "success", "wav_pcm16": "success_pcm16"}[wavs]
  clean: dict[tuple[str, str], Example] = {}
  sounds: dict[str, str] = {}
  examples = []
  for run in runs:
    through = {name: known_transform(run, name, listed) for name in attacks}
    for row in run.rows:
      if not row["clean_correct"] or row["attack"] not in attacks:
        continue
      digest = row["clip_sha256"]  # null in rows of old versions
      if digest and sounds.setdefault(row["file"], digest) != digest:
        raise InputError(
          f"two clips of {row['model']}'s sources are called {row['file']} and are not "
          "the same: run this for one of the sources at a time, each with a "
          "--config.workdir of its own"
        )
      as_clip = example_of(run, row, "wav_clean", f"clean/{row['file']}", through)
      as_clip.fields.update(
        attack="clean",
        method="clean",
        target=None,
        snr_db=None,
        new_label=row["clean_label"],
        new_conf=row["gt_conf"],
        through=None,
      )
      clean.setdefault((row["file"], row["label"]), as_clip)
      if row[verdict] or which == "all":
        clip_id = f"{row['model']}/{row['attack']}/{row['id']}"
        examples.append(example_of(run, row, wavs, clip_id, through))
  return [*clean.values(), *examples]


def example_of(run: Run, row, column: str, clip_id: str, through) -> Example:
  """The file that a row names, and what the row says. through: by attack."""
  fields = {name: row[name] for name in _COPIED} | {
    "method": method_of(run, row["attack"]),
    "source_config_hash": row["config_hash"],
    "through": through[row["attack"]],
  }
  return Example(run.workdir / row[column], clip_id, fields)


def known_transform(run: Run, attack: str, listed: Sequence[Transform]) -> str | None:
  """The name here of the transform that an attack went through; None for none.

  Of a set: the names of all. A transform that is not listed is its own name.
  """
  entry = (run.config.get("attacks", {}).get(attack) or {}).get("through")
  if not entry:
    return None
  names = []
  for member in entries.set_members(entry).values():
    known = build.transform(f"attacks.{attack}.through", member, "")
    same = [one.name for one in listed if one.same_as(known)]
    names.append(same[0] if same else json.dumps(member))
  return SEPARATOR.join(names)


def not_listed(
  examples: Sequence[Example], transforms: Sequence[Transform]
) -> list[str]:
  """What attacks went through, of which no part is among the transforms."""
  names = {transform.name for transform in transforms}
  known = dict.fromkeys(one.fields["through"] for one in examples)
  return [some for some in known if some and not names & set(some.split(SEPARATOR))]
