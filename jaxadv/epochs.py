"""Epoch after epoch, with checkpoints, until the last or until training has stalled."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
from tqdm import tqdm

from jaxadv import training
from jaxadv.errors import InputError
from jaxadv.models import Classifier
from jaxadv.segments import Examples, mixup_batches
from jaxadv.training import Said

HISTORY = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy")
History = list[dict[str, float]]


class Progress(NamedTuple):
  """What a checkpoint holds: where training is, and the best variables so far."""

  state: Any  # a TrainState; of another training, what it goes on with
  best: Any
  history: History


class Trained(NamedTuple):
  """variables: those kept, of `epoch`. said: of the validation clips, by these."""

  variables: Any
  epoch: int
  said: Said
  history: History


def fit(
  model: Classifier,
  train: Examples,
  validation: Examples,
  options: Mapping[str, Any],
  folder: Path,
  *,
  seed: int,
  checkpoint_every: int,
) -> Trained:
  """Trains from the last checkpoint in `folder`/epochs on, as the group `train` of a
  config says. Ends as it would have without a break: all is drawn from (seed, epoch).

  InputError for a damaged checkpoint.
  """
  batch = min(options["batch"], len(train.label))
  epoch_of, predict, at = _prepare(model, train, options, batch, seed)
  keep = ocp.CheckpointManagerOptions(max_to_keep=1)
  with ocp.CheckpointManager(folder.resolve() / "epochs", options=keep) as manager:
    if (done := manager.latest_step()) is not None:
      at = restore(manager, done, at)
      print(f"goes on after epoch {done}")
    bar = tqdm(total=options["epochs"], initial=len(at.history), desc="epochs")
    while len(at.history) < options["epochs"] and not training.has_stalled(
      at.history, options["patience_epochs"]
    ):
      state, loss, accuracy = epoch_of(at.state, len(at.history))
      said = training.judge_clips(predict, state.variables, validation, batch)
      row = (len(at.history) + 1, loss, accuracy, said.loss, said.accuracy)
      history = [*at.history, dict(zip(HISTORY, row, strict=True))]
      newest = training.best_epoch(history) == len(history) - 1
      at = Progress(state, state.variables if newest else at.best, history)
      bar.set_postfix(loss=f"{loss:.3f}", validation=f"{said.accuracy:.3f}")
      bar.update()
      if len(history) % checkpoint_every == 0:
        save(manager, at)
    bar.close()
  kept, epoch = at.state.variables, len(at.history)
  if options["keep"] == "best":
    kept, epoch = at.best, training.best_epoch(at.history) + 1
  said = training.judge_clips(predict, kept, validation, batch)
  return Trained(kept, epoch, said, at.history)


def _prepare(
  model: Classifier, train: Examples, options: Mapping[str, Any], batch: int, seed: int
) -> tuple[Callable, Callable, Progress]:
  """(one epoch of training, predictions, where it starts)."""
  steps = len(train.label) // batch
  optimizer = training.adam(
    options["learning_rate"],
    decay=options["decay"],
    every=options["decay_every_epochs"],
    steps_per_epoch=steps,
  )
  step = training.train_step(
    model,
    optimizer,
    mask_noisy=options["mask_noisy"],
    unverified_weight=options["unverified_weight"],
  )

  def epoch_of(state, epoch):
    """state, epoch from 0 -> state, mean loss, mean accuracy."""
    metrics = []
    for batched in mixup_batches(
      train,
      model.network.classes,
      batch=batch,
      steps=steps,
      alpha=options["mixup_alpha"],
      seed=(seed, epoch),
    ):
      state, *measured = step(state, *batched)
      metrics.append(measured)
    means = np.asarray(metrics, np.float64).mean(axis=0)
    return state, float(means[0]), float(means[1])

  state = training.initial(model, optimizer, train, seed)
  return epoch_of, training.predict(model), Progress(state, state.variables, [])


def save(manager: ocp.CheckpointManager, at: Progress) -> None:
  """Writes a checkpoint of the epoch that the history ends with."""
  content = {
    "state": ocp.args.StandardSave(at.state),
    "best": ocp.args.StandardSave(at.best),
    "history": ocp.args.JsonSave({"epochs": at.history}),
  }
  manager.save(len(at.history), args=ocp.args.Composite(**content))


def restore(manager: ocp.CheckpointManager, epoch: int, like: Progress) -> Progress:
  """The checkpoint of an epoch, shaped like `like`; InputError for a damaged one."""
  content = {
    "state": ocp.args.StandardRestore(like.state),
    "best": ocp.args.StandardRestore(like.best),
    "history": ocp.args.JsonRestore(),
  }
  try:
    saved = manager.restore(epoch, args=ocp.args.Composite(**content))
    return Progress(saved["state"], saved["best"], saved["history"]["epochs"])
  except Exception as error:  # orbax raises whatever its storage layer does
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"the training checkpoint {manager.directory}/{epoch} is damaged ({reason}): "
      "delete the workdir and train again"
    ) from error
