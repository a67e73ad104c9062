"""Do transforms undo attacks? `python experiments/transforms.py
--config=configs/p0_transforms.py --config.sources=DIR,DIR --config.victims=DIR,DIR`.

Every stored adversarial that succeeded, and its clean clip, goes through each transform
and back through its own model. Killed and started again, it goes on where it was.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxadv import build, cli, data, entries, keys, record, results, workdir
from jaxadv.errors import InputError
from jaxadv.judge import probabilities
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report import list_skipped
from jaxadv.report.folder import Run
from jaxadv.report.gather import gather_runs
from jaxadv.report.grid import to_table, write_grids
from jaxadv.report.p0 import tables
from jaxadv.report.p0_figures import write_figures
from jaxadv.report.p0_rows import SEPARATOR
from jaxadv.report.p1_rows import method_of
from jaxadv.report.tables import to_text
from jaxadv.transforms import Transform, transform_all
from jaxadv.victim import Victim, load_victims

_FLUSH_S = 10.0  # a judged example waits at most about so long for its row
_COPIED = (
  *("id", "attack", "model", "file", "label", "target"),
  *("snr_db", "new_label", "new_conf"),
)


class Example(NamedTuple):
  """A WAV, and what its rows will say of it. clip_id: folds into the random keys."""

  wav: Path
  clip_id: str
  fields: dict[str, Any]


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.TRANSFORMS_KEYS)
  transforms = build.transforms(settings["transforms"])
  runs = gather_runs(settings["sources"].split(","))
  victims = load_victims(settings["victims"]).values()
  by_name = {victim.name: victim for victim in victims}
  for run in runs:
    check_victim(run, by_name)
  wanted = choose_attacks(runs, settings["only"])
  # a path may come to hold other weights or rows: they must not be mixed
  settings["found"] = {
    "sources": sorted({row["config_hash"] for run in runs for row in run.rows}),
    "victims": {name: victim.digest for name, victim in by_name.items()},
  }
  folder = workdir.claim(settings["workdir"], settings)
  shared = {
    "config_hash": workdir.config_hash(settings),
    "versions": record.versions(),
    "device": f"1 x {jax.devices()[0].device_kind}",
  }
  skipped: dict[str, str] = {}
  for name, victim in by_name.items():
    own = [run for run in runs if run.rows[0]["model"] == name]
    examples = choose_examples(own, wanted, settings)
    apply_transforms(victim, examples, transforms, settings, folder, shared, skipped)
  workdir.write_skipped(folder, skipped)
  rows = results.read(folder, "transformed")
  if not rows:
    raise InputError(
      "no adversarial of the sources succeeded, or none can be read: see "
      f"{folder}/skipped.csv"
    )
  grids = tables(rows)
  drawn = write_figures(rows, folder / "figures")
  write_grids(folder / "tables", grids)
  said = list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())])
  shown = [grid for stem, grid in grids.items() if stem != "p0_all"]
  print("\n\n".join([*(to_text(to_table(grid)) for grid in shown), said]))
  print(f"{len(drawn)} figures in {folder / 'figures'}, tables in {folder / 'tables'}")


def check_victim(run: Run, victims: Mapping[str, Victim]) -> None:
  """InputError unless the model that the run attacked is there, with its weights."""
  name = run.rows[0]["model"]
  if name not in victims:
    raise InputError(
      f"{run.workdir} attacked {name!r}, which is none of the victims "
      f"({', '.join(victims)}): add its folder to --config.victims"
    )
  then = run.config.get("found", {}).get("victim_weights")
  if then and then != victims[name].digest:
    raise InputError(
      f"{run.workdir} attacked {name!r} when its weights were {then}, and they are "
      f"{victims[name].digest}: give the victim of that run, or attack again"
    )


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
  runs: Sequence[Run], attacks: Sequence[str], settings: Mapping[str, Any]
) -> list[Example]:
  """The adversarials that succeeded, and the clean clips that were classified right.

  With examples="all", adversarials that failed too; clean clips that were misclassified
  have none. wavs: "wav" (float32) or "wav_pcm16", the column with the file.
  """
  wavs, which = settings["wavs"], settings["examples"]
  if wavs not in ("wav", "wav_pcm16"):
    raise InputError(f"wavs is {wavs!r}: choose from wav, wav_pcm16")
  if which not in ("successes", "all"):
    raise InputError(f"examples is {which!r}: choose from successes, all")
  verdict = {"wav": "success", "wav_pcm16": "success_pcm16"}[wavs]
  clean: dict[tuple[str, str], Example] = {}
  examples = []
  for run in runs:
    for row in run.rows:
      if not row["clean_correct"] or row["attack"] not in attacks:
        continue
      as_clip = example_of(run, row, "wav_clean", f"clean/{row['file']}", settings)
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
        examples.append(example_of(run, row, wavs, clip_id, settings))
  return [*clean.values(), *examples]


def example_of(run: Run, row, column: str, clip_id: str, settings) -> Example:
  """The file that a row names, and what the row says."""
  fields = {name: row[name] for name in _COPIED} | {
    "method": method_of(run, row["attack"]),
    "source_config_hash": row["config_hash"],
    "through": known_transform(run, row["attack"], settings["transforms"]),
  }
  return Example(run.workdir / row[column], clip_id, fields)


def known_transform(run: Run, attack: str, listed: Mapping[str, Any]) -> str | None:
  """The name here of the transform that an attack went through; None for none.

  Of a set: the names of all. A transform that is not listed is its own name.
  """
  entry = (run.config.get("attacks", {}).get(attack) or {}).get("through")
  if not entry:
    return None
  names = []
  for member in entries.set_members(entry).values():
    same = [name for name, settings in listed.items() if settings == member]
    names.append(same[0] if same else json.dumps(member))
  return SEPARATOR.join(names)


def apply_transforms(
  victim: Victim,
  examples: Sequence[Example],
  transforms: Sequence[Transform],
  settings: Mapping[str, Any],
  folder: Path,
  shared: Mapping[str, Any],
  skipped: dict[str, str],
) -> None:
  """Appends a row for every example and transform that has none of this victim yet."""
  done = {row_key(row) for row in results.read(folder, "transformed")}
  names = [transform.name for transform in transforms]

  def missing(one):
    return [n for n in names if row_key(one.fields | {"transform": n}) not in done]

  left = [one for one in examples if missing(one)]
  total = len(examples) * len(names)
  initial = total - sum(len(missing(one)) for one in left)
  rows, since = [], time.monotonic()
  with tqdm(total=total, initial=initial, desc=victim.name) as progress:
    try:
      for one, name, probs in heard(victim, left, transforms, settings, skipped):
        row = judged_row(one, name, probs, victim.classes) | dict(shared)
        if row_key(row) in done:  # another transform of the clip had no row
          continue
        rows.append(row)
        progress.update()
        if time.monotonic() - since > _FLUSH_S:
          stored, rows = rows, []
          results.append(folder, stored, "transformed")
          since = time.monotonic()
    finally:  # what is finished stays, whatever stopped the rest
      results.append(folder, rows, "transformed")


def row_key(row: Mapping[str, Any]) -> tuple:
  """What tells rows apart. An id is that of a row of one CSV: train and test share
  them, and clean clips of both may be there."""
  names = ("model", "attack", "target", "id", "file", "transform")
  return tuple(row[name] for name in names)


def judged_row(
  one: Example, transform: str, probs: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
  """What the model says after the transform. probs: [classes]."""
  return one.fields | {
    "transform": transform,
    "transformed_label": classes[int(probs.argmax())],
    "transformed_conf": probs.max(),
    "gt_conf": probs[classes.index(one.fields["label"])],
  }


def heard(
  victim: Victim,
  examples: Sequence[Example],
  transforms: Sequence[Transform],
  settings: Mapping[str, Any],
  skipped: dict[str, str],
) -> Iterator[tuple[Example, str, np.ndarray]]:
  """Yields (example, transform, probabilities [classes]); failures go to `skipped`."""
  runtime = settings["runtime"]
  by_id = {one.clip_id: one for one in examples}
  transformed = transform_all(
    ((one.clip_id, one.wav) for one in examples),
    transforms,
    seed=settings["seed"],
    threads=runtime["threads"],
    processes=runtime["processes"],
  )

  def usable():
    for clip_id, name, x, reason in transformed:
      if x is None:
        skipped[f"{clip_id} {name}"] = reason
      else:
        yield (by_id[str(clip_id)], name), data.pad_to_chunks(x)

  samples = runtime["batch_chunks"] * CHUNK_SAMPLES
  judged = probabilities(victim.logits, victim.variables, usable(), samples)
  for (one, name), probs in judged:
    yield one, name, probs


if __name__ == "__main__":
  cli.run(main)
