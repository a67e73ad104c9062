"""Accuracy, confusion matrices and model cards of victims: `python
experiments/evaluate.py --config=configs/NAME.py --config.victim=DIR,DIR
--config.data.split=train,test`.

Clips go in as they are attacked: whole, padded, through the victim's own frontend.
Writes predictions.csv, evaluation.md, and a card.md into each victim's folder (of an
imported victim: into workdir/NAME). Started again, it goes on at the next victim or
split.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxadv import build, cli, cost, data, keys, workdir
from jaxadv.errors import InputError
from jaxadv.judge import NO_ANSWER, probabilities
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.predictions import Prediction, read_predictions, write_predictions
from jaxadv.report import card, list_skipped
from jaxadv.report.tables import to_markdown, to_text
from jaxadv.victim import Victim, load_victims

Sets = Mapping[tuple[str, str], data.Dataset]  # (victim, split) -> its clips


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.EVALUATE_KEYS)
  loaded = load_victims(settings["victim"])
  victims = {victim.name: victim for victim in loaded.values()}
  sets = {
    (name, split): build.dataset(settings["data"], split, victim.classes)
    for name, victim in victims.items()
    for split in dict.fromkeys(settings["data"]["split"].split(","))
  }
  # a path may come to hold other weights or clips: rows must not be mixed
  settings["found"] = {
    "victim_weights": {name: victim.digest for name, victim in victims.items()},
    "clips": {f"{name} {split}": digest(one) for (name, split), one in sets.items()},
  }
  folder = workdir.claim(settings["workdir"], settings)
  rows, skipped = evaluate(victims, sets, settings, folder)
  show(rows, victims, sets, folder)
  print(list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())]))
  for place, victim in loaded.items():
    print(f"card: {write_card(victim, place, rows, settings, folder)}")


def digest(dataset: data.Dataset) -> str:
  """12 hex digits of which ids stand for which files and labels."""
  listed = [(clip.index, clip.file, clip.label) for clip in dataset.clips]
  return hashlib.sha256(repr(listed).encode()).hexdigest()[:12]


def evaluate(
  victims: Mapping[str, Victim], sets: Sets, settings: Mapping[str, Any], folder: Path
) -> tuple[list[Prediction], dict[str, str]]:
  """(predictions of all victims and splits, skipped files): a victim and split that
  predictions.csv has is not run again.

  InputError for a split of which no clip can be used.
  """
  rows = read_predictions(folder / "predictions.csv")
  skipped = workdir.read_skipped(folder)
  done = set(card.group_predictions(rows))
  for (name, split), dataset in sets.items():
    if (name, split) in done:
      continue
    said = list(predict(victims[name], split, dataset, settings, skipped))
    workdir.write_skipped(folder, skipped)
    if not said:
      raise InputError(
        f"none of {len(dataset.clips)} clips can be used: see {folder}/skipped.csv"
      )
    rows += sorted(said, key=lambda row: row.id)
    write_predictions(folder / "predictions.csv", rows)
  return rows, skipped


def predict(
  victim: Victim,
  split: str,
  dataset: data.Dataset,
  settings: Mapping[str, Any],
  skipped: dict[str, str],
) -> Iterator[Prediction]:
  """Yields what the victim says of every clip that can be read."""
  runtime, classes = settings["runtime"], victim.classes
  # a length after another: each is compiled as its first clip comes
  ordered = [clip for _, some in data.by_bucket(dataset.clips) for clip in some]
  loaded = data.load(
    ordered,
    band_limit_hz=settings["data"]["band_limit_hz"],
    threads=runtime["threads"],
    processes=runtime["processes"],
  )
  clips = ((clip, x) for clip, x, _ in data.usable(loaded, skipped, tqdm.write))
  samples = runtime["batch_chunks"] * CHUNK_SAMPLES
  judged = probabilities(victim.logits, victim.variables, clips, samples)
  for clip, probs in tqdm(judged, f"{victim.name} {split}", len(ordered)):
    if np.isnan(probs).any():
      skipped[clip.file] = NO_ANSWER
      continue
    said, sure = int(probs.argmax()), float(probs.max())
    names = (classes[clip.label], clip.verified, classes[said])
    yield Prediction(victim.name, split, clip.index, clip.file, *names, sure)


def show(rows, victims, sets: Sets, folder: Path) -> None:
  """Prints the accuracies, and of a single victim and split the confusion matrix too;
  evaluation.md holds them all."""
  groups = card.group_predictions(rows)
  lost = {key: len(sets[key].clips) - len(said) for key, said in groups.items()}
  classes = {name: len(victim.classes) for name, victim in victims.items()}
  tables = [card.accuracy(groups, classes, lost)]
  for (name, split), said in groups.items():
    title = f"Confusion: {name}, {split}"
    tables.append(card.confusion(title, said, victims[name].classes))
  workdir.write_text(folder / "evaluation.md", "\n".join(map(to_markdown, tables)))
  print("\n\n".join(map(to_text, tables if len(groups) == 1 else tables[:1])))


def write_card(
  victim: Victim,
  place: str,
  rows: list[Prediction],
  settings: Mapping[str, Any],
  folder: Path,
) -> Path:
  """The card of one victim, in its own folder where it has one that can be written.

  It keeps what training said of the validation clips (validation.csv there).
  """
  own = Path(place)
  trained_here = victim.model is not None and (own / "victim.json").is_file()
  home = own if trained_here and os.access(own, os.W_OK) else folder / victim.name
  config = {"evaluated": settings}
  if trained_here and (own / "config.json").is_file():
    config["trained"] = json.loads((own / "config.json").read_text())
  network = type(victim.model.network).__name__ if victim.model else "imported"
  facts = {
    "victim": place,
    "network": network,
    "weights": victim.digest,
    **cost.facts(victim.logits, victim.variables),
  }
  validated = read_predictions(own / "validation.csv") if trained_here else []
  mine = [row for row in rows if row.model == victim.name]
  card.write_card(home, victim.name, facts, validated + mine, victim.classes, config)
  return home / "card.md"


if __name__ == "__main__":
  cli.run(main)
