"""Do transforms undo attacks? `python experiments/transforms.py
--config=configs/p0_transforms.py --config.sources=DIR,DIR --config.victims=DIR,DIR`.

Every stored adversarial that succeeded, and its clean clip, goes through each transform
and back through its own model. Killed and started again, it goes on where it was.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxadv import build, cli, data, keys, record, results, workdir
from jaxadv.errors import InputError
from jaxadv.judge import NO_ANSWER, probabilities
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report import list_skipped
from jaxadv.report.folder import Run
from jaxadv.report.gather import gather_runs
from jaxadv.report.grid import to_table, write_grids
from jaxadv.report.p0 import tables
from jaxadv.report.p0_figures import write_figures
from jaxadv.report.tables import to_text
from jaxadv.stored import Example, choose_attacks, choose_examples, not_listed
from jaxadv.transforms import Transform, transform_all, user
from jaxadv.victim import Victim, load_victims

_FLUSH_S = 10.0  # a judged example waits at most about so long for its row


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.TRANSFORMS_KEYS)
  transforms = build.transforms(settings["transforms"])
  runs = gather_runs(keys.folders(settings, "sources"))
  victims = load_victims(settings["victims"]).values()
  by_name = {victim.name: victim for victim in victims}
  for run in runs:
    check_victim(run, by_name)
  wanted = choose_attacks(runs, settings["only"])
  # a path may come to hold other weights, rows or code: they must not be mixed
  settings["found"] = {
    "sources": sorted({row["config_hash"] for run in runs for row in run.rows}),
    "victims": {name: victim.digest for name, victim in by_name.items()},
  }
  if files := build.files_read(settings["transforms"]):
    settings["found"]["files"] = files
  if settings["wavs"] != "wav":
    settings["found"]["judged"] = settings["wavs"]  # before the transform
  folder = workdir.claim(settings["workdir"], settings)
  shared = {
    "config_hash": workdir.config_hash(settings),
    "versions": record.versions(),
    "device": f"1 x {jax.devices()[0].device_kind}",
  }
  skipped: dict[str, str] = {}
  for name, victim in by_name.items():
    own = [run for run in runs if run.rows[0]["model"] == name]
    examples = choose_examples(own, wanted, settings, transforms)
    if settings["wavs"] != "wav":
      examples = judge_as_stored(victim, examples, settings, skipped)
    for through in not_listed(examples, transforms):
      print(
        f"warning: attacks of {name} went through {through}, and nothing of it is "
        "listed in `transforms`: what they reach after it stays unknown"
      )
    apply_transforms(victim, examples, transforms, settings, folder, shared, skipped)
  workdir.write_skipped(folder, skipped)
  rows = results.read(folder, "transformed")
  if not rows:
    raise InputError(
      "no adversarial of the sources succeeded, or none can be read: see "
      f"{folder}/skipped.csv"
    )
  grids = tables(rows)
  write_grids(folder / "tables", grids)
  drawn = write_figures(rows, folder / "figures")
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


def judge_as_stored(
  victim: Victim,
  examples: Sequence[Example],
  settings: Mapping[str, Any],
  skipped: dict[str, str],
) -> list[Example]:
  """The examples, new_label and new_conf being what the victim says of these files.

  The rows of an attack say it of the float32 ones. Judged at every start; what can't be
  is skipped.
  """
  as_it_is = user(np.asarray)
  own = [one for one in examples if one.fields["attack"] != "clean"]
  wanted = {(one.clip_id, as_it_is.name) for one in own}

  def failed(clip_id, name, reason):
    skipped[clip_id] = reason

  for one, _, probs in heard(victim, own, [as_it_is], settings, wanted, failed):
    said = {"new_label": victim.classes[probs.argmax()], "new_conf": probs.max()}
    one.fields.update(said)
  return [one for one in examples if one.clip_id not in skipped]


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
  missing = {
    (one.clip_id, transform.name)
    for one in examples
    for transform in transforms
    if row_key(one.fields | {"transform": transform.name}) not in done
  }
  kept = {clip_id for clip_id, _ in missing}
  left = [one for one in examples if one.clip_id in kept]
  total = len(examples) * len(transforms)
  initial = total - len(missing)
  rows, since = [], time.monotonic()
  with tqdm(total=total, initial=initial, desc=victim.name) as progress:

    def failed(clip_id, name, reason):
      skipped[f"{clip_id} {name}"] = reason
      progress.update()

    try:
      for one, name, probs in heard(
        victim, left, transforms, settings, missing, failed
      ):
        rows.append(judged_row(one, name, probs, victim.classes) | dict(shared))
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
  missing: Collection[tuple[str, str]],
  failed: Callable[[str, str, str], None],
) -> Iterator[tuple[Example, str, np.ndarray]]:
  """Yields (example, transform, probabilities [classes]) of what is missing.

  missing: (clip_id, transform's name). failed: told those of each failure, and why.
  """
  runtime = settings["runtime"]
  by_id = {one.clip_id: one for one in examples}
  transformed = transform_all(
    ((one.clip_id, one.wav) for one in examples),
    transforms,
    seed=settings["seed"],
    threads=runtime["threads"],
    processes=runtime["processes"],
    wanted=lambda clip_id, name: (clip_id, name) in missing,
  )

  def usable():
    for clip_id, name, x, reason in transformed:
      if x is None:
        failed(str(clip_id), name, reason)
      else:
        yield (by_id[str(clip_id)], name), data.pad_to_chunks(x)

  samples = runtime["batch_chunks"] * CHUNK_SAMPLES
  judged = probabilities(victim.logits, victim.variables, usable(), samples)
  for (one, name), probs in judged:
    if np.isnan(probs).any():
      failed(one.clip_id, name, NO_ANSWER)
    else:
      yield one, name, probs


if __name__ == "__main__":
  cli.run(main)
