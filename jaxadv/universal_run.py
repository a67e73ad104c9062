"""Trains one perturbation over a data set, epoch after epoch, with checkpoints."""

import csv
import io
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from tqdm import tqdm

from jaxadv import data, epochs, universal_data, workdir
from jaxadv.drive import Lane
from jaxadv.errors import InputError
from jaxadv.universal import Sums
from jaxadv.universal_data import Batch
from jaxadv.universal_step import Trainer, plan_of, trainer
from jaxadv.victim import Victim

HISTORY = (
  *("epoch", "loss", "train_fooled", "train_snr_db"),
  *("test_fooled", "test_snr_db", "seconds"),
)
History = list[dict[str, Any]]
# u -> share of the clips fooled, mean SNR in dB; None: of no clip
Test = Callable[[np.ndarray], tuple[float | None, float | None]]


class Trained(NamedTuple):
  """u: float32 [CHUNK_SAMPLES], as the last minibatch heard it. size: in the norm.
  nan_steps: those whose loss or gradient was no number. history: rows of HISTORY."""

  u: np.ndarray
  size: float
  nan_steps: int
  history: History


def train(
  victim: Victim,
  clips: Sequence[data.Clip],
  settings: Mapping[str, Any],
  folder: Path,
  *,
  variables: Any,
  test: Test,
  target: int = -1,
  share: tuple[int, int] = (0, 1),
  devices: Sequence[Any] | None = None,
) -> Trained:
  """Trains from the last checkpoint in `folder`/epochs on, and writes history.csv.

  Ends as it would have without a break: all is drawn from (seed, epoch). variables:
  what is attacked (`inference.inference`). share: (index, count) of the processes,
  which all call this; the first writes. devices: of all processes; None: all there are.

  InputError for a batch that is too large, clips that can't be used, and a checkpoint
  that is damaged.
  """
  counts, epoch_count = universal_data.count_chunks(clips), settings["train"]["epochs"]
  total = universal_data.count_batches(counts, settings)
  plan = plan_of(settings, epoch_count * total)
  made = trainer(plan, victim, settings, devices or jax.devices(), target)
  lane, history = jax.device_get(made.start(variables)), []
  variables = made.replicate(variables)
  skipped = workdir.read_skipped(folder, share[0])
  keep = ocp.CheckpointManagerOptions(max_to_keep=1)
  with ocp.CheckpointManager(folder.resolve() / "epochs", options=keep) as manager:
    if (done := manager.latest_step()) is not None:
      lane, history = _restore(manager, done, lane)
      if share[0] == 0:
        print(f"goes on after epoch {done}", flush=True)
    while len(history) < epoch_count:
      number, began = len(history) + 1, time.perf_counter()
      rows = {"rows": made.rows, "share": share, "skipped": skipped}
      batches = universal_data.epoch(clips, counts, settings, number, **rows)
      title = f"epoch {number} of {epoch_count}"
      bar = tqdm(batches, title, total, unit="batch", disable=share[0] > 0)
      lane, sums = _train_epoch(made, variables, made.replicate(lane), bar)
      workdir.write_skipped(folder, skipped, share[0])
      if not sums.clips:
        raise InputError(
          f"none of {len(clips)} clips can be used: see {folder}/skipped.csv"
        )
      seconds = time.perf_counter() - began
      every = settings["train"]["test_every_epochs"] or epoch_count
      tested = number % every == 0 or number == epoch_count
      said = test(np.asarray(lane.best.delta)) if tested else (None, None)
      row = (number, *_means(sums), *said, seconds)
      history = [*history, dict(zip(HISTORY, row, strict=True))]
      if share[0] == 0:
        _write_history(folder / "history.csv", history)
      kept = settings["runtime"]["checkpoint_every_epochs"]
      if number % kept == 0 or number == epoch_count:
        epochs.save(manager, epochs.Progress(_leaves(lane), lane.best.delta, history))
  u, size = np.asarray(lane.best.delta), float(lane.best.size)
  return Trained(u, size, int(lane.watch.nan_steps), history)


def _train_epoch(
  made: Trainer, variables: Any, lane: Lane, batches: Iterable[Batch]
) -> tuple[Lane, Sums]:
  """(the Lane, sums over the epoch), on the host."""
  told: list[Sums] = []
  for batch in batches:
    lane, sums = made.step(variables, lane, made.split(batch))
    told.append(sums)
    # one step runs while the clips of the next are decoded, never more
    jax.block_until_ready(told[-2:-1])
  total = np.asarray(jax.device_get(told), np.float64).sum(0)
  return jax.device_get(lane), Sums(*total.tolist())


def _means(sums: Sums) -> tuple[float, float, float | None]:
  """Loss and share fooled of the chunks as they were heard; SNR of them all in dB."""
  heard = sums.noise > 0 and sums.signal > 0
  snr_db = 10 * math.log10(sums.signal / sums.noise) if heard else None
  return sums.loss / sums.clips, sums.fooled / sums.clips, snr_db


def _leaves(lane: Lane) -> dict[str, np.ndarray]:
  """Without the attack's own types, of which a checkpoint knows nothing."""
  return {f"{n:03}": np.asarray(leaf) for n, leaf in enumerate(jax.tree.leaves(lane))}


def _restore(
  manager: ocp.CheckpointManager, epoch: int, like: Lane
) -> tuple[Lane, History]:
  expected = epochs.Progress(_leaves(like), like.best.delta, [])
  saved = epochs.restore(manager, epoch, expected)
  leaves = [saved.state[name] for name in sorted(saved.state)]
  return jax.tree.unflatten(jax.tree.structure(like), leaves), saved.history


def _write_history(path: Path, history: History) -> None:
  table = io.StringIO()
  rows = [row.values() for row in history]
  csv.writer(table, lineterminator="\n").writerows([HISTORY, *rows])
  workdir.write_text(path, table.getvalue())
