"""Trains a victim: `python experiments/train.py --config=configs/NAME.py`.

Killed and started again, it goes on at its last checkpoint and ends with the same
victim. The workdir becomes a victim's folder that the other experiments take, with
history.csv, learning_curves.png, card.md, and validation.csv (what it says of each
validation clip).
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from jaxadv import build, cli, cost, data, epochs, keys, victim, workdir
from jaxadv.errors import InputError
from jaxadv.models import FRONTENDS, WAVEFORMS, Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES, SAMPLE_RATE_HZ
from jaxadv.predictions import Prediction, write_predictions
from jaxadv.report import list_skipped
from jaxadv.report.card import write_card
from jaxadv.report.card_figures import learning_curves
from jaxadv.segments import Chunks, Examples, Waveforms


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.TRAIN_KEYS)
  dataset = build.dataset(settings["data"], "train")
  model = build.classifier(settings["model"], len(dataset.classes))
  check_features(settings["train"]["features"], model, settings["model"]["network"])
  folder = workdir.claim(settings["workdir"], settings)
  if (folder / "victim.json").exists():
    print(f"{folder} is trained already: delete it to train again")
    return
  examples = read_examples(dataset, settings, folder)
  train, validation = split(examples, dataset, settings)
  print(
    f"{len(dataset.classes)} classes, {len(train.label)} examples to train on, "
    f"{len(np.unique(validation.clip))} clips to validate on"
  )
  trained = epochs.fit(
    model,
    train,
    validation,
    settings["train"],
    folder,
    seed=settings["seed"],
    checkpoint_every=settings["runtime"]["checkpoint_every_epochs"],
  )
  describe(trained, model, dataset, settings, folder)
  victim.save_victim(folder, settings["model"], dataset.classes, trained.variables)
  print(
    f"validation accuracy {trained.said.accuracy:.3f} after epoch {trained.epoch}; "
    f"victim in {folder}, card in {folder / 'card.md'}"
  )


def check_features(name: str, model: Classifier, network: str) -> None:
  """InputError for features that don't exist, or that the network does not take."""
  known = {one: "spectrogram" for one in FRONTENDS if one not in WAVEFORMS}
  known["waveform"] = "waveform"
  fitting = [one for one, kind in known.items() if kind == model.network.takes]
  if name not in known:
    raise InputError(f"train.features is {name!r}: choose from {', '.join(known)}")
  if name not in fitting:
    raise InputError(
      f"train.features is {name!r}, and model.network {network!r} takes a "
      f"{model.network.takes}: choose from {', '.join(fitting)}"
    )


def features_of(name: str):
  """[samples] -> [chunks, frames, bands] on the host: what the network trains on.

  log_mel_train cuts clips to chunks without padding them, as only training does; what
  any other frontend gives is cut to as many pieces as the padded clip has chunks.
  """
  if name == "log_mel_train":
    return data.log_mel_chunks
  frontend = jax.jit(FRONTENDS[name])

  def features(x):
    padded = data.pad_to_chunks(x)
    given = np.asarray(frontend(padded))
    return given.reshape(len(padded) // CHUNK_SAMPLES, -1, given.shape[-1])

  return features


def read_examples(
  dataset: data.Dataset, settings: Mapping[str, Any], folder: Path
) -> Examples:
  """What can be read of every clip; the others go to skipped.csv."""
  options, skipped = settings["train"], {}
  waveform = options["features"] == "waveform"
  # a copy: a view would keep the padding in memory
  features = (
    (lambda x: x[None].copy()) if waveform else features_of(options["features"])
  )
  loaded = data.load(
    dataset.clips,
    band_limit_hz=settings["data"]["band_limit_hz"],
    threads=settings["runtime"]["threads"],
    processes=settings["runtime"]["processes"],
  )
  progress = tqdm(loaded, "features", len(dataset.clips))
  parts, whose = [], []
  for clip, x, samples in data.usable(progress, skipped, tqdm.write):
    segments = [x[:samples]]
    if settings["data"]["remove_silence"]:
      segments = data.remove_silence(x[:samples], SAMPLE_RATE_HZ)
    for segment in segments:
      parts.append(features(segment))
      whose += [clip] * len(parts[-1])
  workdir.write_skipped(folder, skipped)
  print(list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())]))
  if not parts:
    raise InputError(
      f"none of {len(dataset.clips)} clips can be used: see {folder}/skipped.csv"
    )
  rows = (
    np.array([clip.label for clip in whose]),
    np.array([clip.index for clip in whose]),
    np.array([clip.verified for clip in whose]),
  )
  if not waveform:
    return Chunks(np.concatenate(parts), *rows)
  waves = tuple(part[0] for part in parts)
  return Waveforms(waves, *rows, options["excerpt_samples"], options["normalise_peak"])


def split(examples: Examples, dataset: data.Dataset, settings: Mapping[str, Any]):
  """(train, validation): the first of `folds` folds, stratified by label and verified;
  only verified clips validate. Iqbal et al., DCASE 2018 task 2."""
  usable = set(examples.clip.tolist())
  clips = [clip for clip in dataset.clips if clip.index in usable]
  strata = [f"{clip.label} {clip.verified}" for clip in clips]
  folds = StratifiedKFold(settings["train"]["folds"], shuffle=True, random_state=0)
  try:
    _, held = next(folds.split(strata, strata))
  except ValueError as error:
    raise InputError(
      f"train.folds is {settings['train']['folds']} and only {len(clips)} clips can be "
      "used: give fewer folds"
    ) from error
  out = {clips[at].index for at in held}
  # people's own data may say of no clip that it is verified
  judged = {clips[at].index for at in held if clips[at].verified} or out
  return (
    examples.select(~np.isin(examples.clip, list(out))),
    examples.select(np.isin(examples.clip, list(judged))),
  )


def describe(
  trained: epochs.Trained,
  model: Classifier,
  dataset: data.Dataset,
  settings: Mapping[str, Any],
  folder: Path,
) -> None:
  """history.csv, learning curves, validation.csv and the model card."""
  table = io.StringIO()
  rows = [row.values() for row in trained.history]
  csv.writer(table, lineterminator="\n").writerows([epochs.HISTORY, *rows])
  workdir.write_text(folder / "history.csv", table.getvalue())
  learning_curves(folder / "learning_curves.png", trained.history, trained.epoch)
  clips = {clip.index: clip for clip in dataset.clips}
  rows = []
  for index, probs in zip(trained.said.clip.tolist(), trained.said.probs, strict=True):
    clip, said = clips[index], int(probs.argmax())
    names = (dataset.classes[clip.label], clip.verified, dataset.classes[said])
    rows.append(
      Prediction(
        folder.name, "validation", index, clip.file, *names, float(probs[said])
      )
    )
  write_predictions(folder / "validation.csv", rows)
  facts = {
    "network": f"{settings['model']['network']} ({settings['model']['frontend']})",
    "epochs": f"{len(trained.history)} trained, the variables of epoch {trained.epoch}",
    **cost.facts(model.apply, trained.variables),
  }
  write_card(folder, folder.name, facts, rows, dataset.classes, settings)


if __name__ == "__main__":
  cli.run(main)
