"""Trains a victim: `python experiments/train.py --config=configs/NAME.py`.

Killed and started again, it goes on at its last checkpoint and ends with the same
victim. The workdir becomes a victim's folder that the other experiments take.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from jaxadv import build, cli, data, keys, training, victim, workdir
from jaxadv.errors import InputError
from jaxadv.models import FRONTENDS, Classifier
from jaxadv.models.frontends import SAMPLE_RATE_HZ
from jaxadv.report import list_skipped
from jaxadv.training import Chunks


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.TRAIN_KEYS)
  dataset = build.dataset(settings["data"], "train")
  model = build.classifier(settings["model"], len(dataset.classes))
  features_of(settings["train"]["features"])
  folder = workdir.claim(settings["workdir"], settings)
  if (folder / "victim.json").exists():
    print(f"{folder} is trained already: delete it to train again")
    return
  chunks = read_features(dataset, settings, folder)
  train, validation = split(chunks, dataset, settings)
  print(
    f"{len(dataset.classes)} classes, {len(train.label)} chunks to train on, "
    f"{len(np.unique(validation.clip))} clips to validate on"
  )
  state, accuracy = fit(model, train, validation, settings, folder)
  victim.save_victim(folder, settings["model"], dataset.classes, state.variables)
  print(f"validation accuracy {accuracy:.3f}; victim in {folder}")


def features_of(name: str):
  """[samples] -> [chunks, frames, bands] on the host: what the network trains on.

  log_mel_train cuts clips to chunks without padding them, as only training does; any
  other frontend is taken as it is. InputError for an unknown name.
  """
  if name == "log_mel_train":
    return data.log_mel_chunks
  if name not in FRONTENDS:
    raise InputError(f"train.features is {name!r}: choose from {', '.join(FRONTENDS)}")
  frontend = jax.jit(FRONTENDS[name])
  return lambda x: np.asarray(frontend(data.pad_to_chunks(x)))


def read_features(
  dataset: data.Dataset, settings: Mapping[str, Any], folder: Path
) -> Chunks:
  """Features of every clip that can be read; the others go to skipped.csv."""
  features = features_of(settings["train"]["features"])
  parts, skipped = [], {}
  loaded = data.load(
    dataset.clips,
    band_limit_hz=settings["data"]["band_limit_hz"],
    threads=settings["runtime"]["threads"],
    processes=settings["runtime"]["processes"],
  )
  progress = tqdm(loaded, "features", len(dataset.clips))
  for clip, x, samples in data.usable(progress, skipped, tqdm.write):
    segments = [x[:samples]]
    if settings["data"]["remove_silence"]:
      segments = data.remove_silence(x[:samples], SAMPLE_RATE_HZ)
    parts += [(features(segment), clip) for segment in segments]
  workdir.write_skipped(folder, skipped)
  print(list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())]))
  if not parts:
    raise InputError(
      f"none of {len(dataset.clips)} clips can be used: see {folder}/skipped.csv"
    )
  counts = [len(part) for part, _ in parts]
  return Chunks(
    np.concatenate([part for part, _ in parts]),
    np.repeat([clip.label for _, clip in parts], counts),
    np.repeat([clip.index for _, clip in parts], counts),
  )


def split(chunks: Chunks, dataset: data.Dataset, settings: Mapping[str, Any]):
  """(train, validation): the first of `folds` folds, stratified by label and verified;
  only verified clips validate. Iqbal et al., DCASE 2018 task 2."""
  usable = set(chunks.clip.tolist())
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
  is_out = np.isin(chunks.clip, list(out))
  is_judged = np.isin(chunks.clip, list(judged))
  return (
    Chunks(*(part[~is_out] for part in chunks)),
    Chunks(*(part[is_judged] for part in chunks)),
  )


def fit(
  model: Classifier,
  train: Chunks,
  validation: Chunks,
  settings: Mapping[str, Any],
  folder: Path,
) -> tuple[training.TrainState, float]:
  """Trains from the last checkpoint on to the last epoch: (state, accuracy)."""
  options, every = settings["train"], settings["runtime"]["checkpoint_every_epochs"]
  batch = min(options["batch"], len(train.label))
  steps = len(train.label) // batch
  optimizer = training.adam(
    options["learning_rate"],
    decay=options["decay"],
    every=options["decay_every_epochs"],
    steps_per_epoch=steps,
  )
  state = training.initial(model, optimizer, train, settings["seed"])
  step, predict = training.train_step(model, optimizer), training.predict(model)
  history: list[dict[str, float]] = []
  keep = ocp.CheckpointManagerOptions(max_to_keep=1)
  with ocp.CheckpointManager(folder.resolve() / "epochs", options=keep) as manager:
    if (done := manager.latest_step()) is not None:
      state, history = restore(manager, done, state)
      print(f"goes on after epoch {done}")
    progress = tqdm(total=options["epochs"], initial=len(history), desc="epochs")
    for epoch in range(len(history), options["epochs"]):
      losses = []
      for x, probs in training.mixup_batches(
        train,
        model.network.classes,
        batch=batch,
        steps=steps,
        alpha=options["mixup_alpha"],
        seed=(settings["seed"], epoch),
      ):
        state, loss = step(state, x, probs)
        losses.append(loss)
      accuracy = training.clip_accuracy(predict, state.variables, validation, batch)
      loss = float(np.mean(losses))
      history.append({"epoch": epoch + 1, "loss": loss, "accuracy": accuracy})
      progress.set_postfix(loss=f"{loss:.3f}", validation=f"{accuracy:.3f}")
      progress.update()
      if (epoch + 1) % every == 0:
        save(manager, epoch + 1, state, history)
    progress.close()
  write_history(folder, history)
  return state, history[-1]["accuracy"]


def save(manager, epoch, state, history):
  """One checkpoint: the training state and the history of all epochs so far."""
  content = {
    "state": ocp.args.StandardSave(state),
    "history": ocp.args.JsonSave({"epochs": history}),
  }
  manager.save(epoch, args=ocp.args.Composite(**content))


def restore(manager, epoch, state):
  """(state, history) as saved; InputError where the checkpoint is damaged."""
  content = {
    "state": ocp.args.StandardRestore(state),
    "history": ocp.args.JsonRestore(),
  }
  try:
    restored = manager.restore(epoch, args=ocp.args.Composite(**content))
  except Exception as error:  # orbax raises whatever its storage layer does
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"the training checkpoint {manager.directory}/{epoch} is damaged ({reason}): "
      "delete the workdir and train again"
    ) from error
  return restored["state"], restored["history"]["epochs"]


def write_history(folder, history):
  """history.csv: epoch, loss, validation accuracy."""
  table = io.StringIO()
  writer = csv.DictWriter(table, ["epoch", "loss", "accuracy"])
  writer.writeheader()
  writer.writerows(history)
  workdir.write_text(folder / "history.csv", table.getvalue())


if __name__ == "__main__":
  cli.run(main)
