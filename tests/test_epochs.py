"""Epochs with checkpoints: stopped, taken up again, the best one kept."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv import epochs, training
from jaxadv.errors import InputError
from jaxadv.models import Classifier
from jaxadv.models.frontends import waveform
from jaxadv.segments import Waveforms

OPTIONS = {
  "batch": 4,
  "epochs": 6,
  "learning_rate": 0.05,
  "decay": 0.9,
  "decay_every_epochs": 2,
  "mixup_alpha": 1.0,
  "mask_noisy": 0.8,
  "unverified_weight": 0.5,
  "patience_epochs": 0,
  "keep": "best",
}


class Peak(nn.Module):
  """[B, samples] -> logits of the largest and the smallest sample, batch-normalised."""

  classes: int = 2
  takes: ClassVar[str] = "waveform"

  @nn.compact
  def __call__(self, x, train=False):
    found = jnp.stack([x.max(1), x.min(1)], axis=1)
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.5)
    return nn.Dense(2, kernel_init=nn.initializers.zeros)(norm(found))


MODEL = Classifier(waveform, Peak())


def clips(flipped: bool) -> Waveforms:
  """Class 1 is the louder one: 8 clips of 20 to 60 samples; or the other way round."""
  rng = np.random.default_rng(0)
  label = np.arange(8) % 2
  waves = tuple(
    (0.1 + 0.8 * c) * rng.uniform(-1, 1, rng.integers(20, 60)).astype(np.float32)
    for c in label
  )
  rows = np.arange(8)
  return Waveforms(waves, abs(label - flipped), rows, rows != 3, 32, False)


def fit(folder, flipped=False, **changes):
  options = OPTIONS | changes
  return epochs.fit(
    MODEL, clips(False), clips(flipped), options, folder, seed=1, checkpoint_every=2
  )


def same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def falling(tmp_path_factory):
  """The more it learns the worse it does: validation labels are the wrong ones."""
  return fit(tmp_path_factory.mktemp("falling"), flipped=True)


def test_what_is_kept_is_what_the_history_says(falling, tmp_path):
  best = training.best_epoch(falling.history) + 1
  assert falling.epoch == best < 6 and len(falling.history) == 6
  kept = falling.history[best - 1]
  assert falling.said.accuracy == kept["validation_accuracy"]
  assert falling.said.loss == pytest.approx(kept["validation_loss"], rel=1e-6)
  # trained for as many epochs only, the last are the same
  short = fit(tmp_path, flipped=True, epochs=best, keep="last")
  assert short.epoch == best
  same(short.variables, falling.variables)


def test_learning_is_seen_in_the_history(tmp_path):
  trained = fit(tmp_path, epochs=12, mixup_alpha=0.0, keep="last")
  assert [row["epoch"] for row in trained.history] == list(range(1, 13))
  late = {
    key: np.mean([row[key] for row in trained.history[6:]]) for key in epochs.HISTORY
  }
  assert late["loss"] < 0.5 * np.log(2) < trained.history[0]["loss"]
  assert late["validation_loss"] < 0.5 * np.log(2)
  assert late["accuracy"] > 0.8 and trained.said.accuracy == 1
  assert trained.epoch == 12


def test_every_epoch_draws_anew(tmp_path):
  """At a rate of 0 losses tell batches: what of them is unverified counts half, and
  nothing where it is masked."""
  losses = {}
  for mask in (0.0, 0.8):
    changes = {"epochs": 3, "learning_rate": 0.0, "mask_noisy": mask}
    trained = fit(tmp_path / str(mask), **changes)
    losses[mask] = [row["loss"] for row in trained.history]
  assert len(set(losses[0.0])) == 3
  assert np.less(losses[0.8], losses[0.0]).all()


@pytest.mark.parametrize("keep", ["last", "best"])
def test_taken_up_again_it_ends_the_same(falling, tmp_path, keep):
  """Killed in its 4th epoch: what came after the 2nd is lost."""
  fit(tmp_path, flipped=True, epochs=3)
  resumed = fit(tmp_path, flipped=True, keep=keep)
  assert resumed.history == falling.history
  whole = falling
  if keep == "last":
    whole = fit(tmp_path / "whole", flipped=True, keep=keep)
    assert resumed.epoch == 6
  # the best is from before the break, so only the checkpoint can have it
  assert falling.epoch <= 2
  assert resumed.epoch == whole.epoch
  same(resumed.variables, whole.variables)


def test_patience_ends_it_early_also_after_a_break(falling, tmp_path):
  expected = falling.epoch + 2
  stopped = fit(tmp_path / "whole", flipped=True, patience_epochs=2)
  assert len(stopped.history) == expected < 6
  assert stopped.history == falling.history[:expected]
  assert stopped.epoch == falling.epoch
  same(stopped.variables, falling.variables)
  again = fit(tmp_path / "whole", flipped=True, patience_epochs=2)
  assert again.history == stopped.history
  same(again.variables, stopped.variables)


def test_a_damaged_checkpoint_is_said(tmp_path):
  fit(tmp_path, epochs=2)
  for path in (tmp_path / "epochs" / "2" / "best").rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  with pytest.raises(InputError, match="epochs/2 is damaged"):
    fit(tmp_path)


def curve(*rows):
  """(validation accuracy, validation loss) of each epoch."""
  return [
    {"validation_accuracy": accuracy, "validation_loss": loss}
    for accuracy, loss in rows
  ]


@pytest.mark.parametrize(
  "rows, best",
  [
    ([(0.1, 1)], 0),
    ([(0.1, 1), (0.3, 9), (0.2, 0.1)], 1),
    ([(0.3, 5), (0.3, 4), (0.3, 4.5)], 1),  # a tie: the lower loss
    ([(0.3, 4), (0.3, 4), (0.2, 1)], 0),  # equal in both: the earlier one
  ],
)
def test_the_best_epoch(rows, best):
  assert training.best_epoch(curve(*rows)) == best


def test_training_stalls_when_patience_is_over():
  # best after the 2nd epoch; a lower loss at the same accuracy in the 5th counts too
  rows = curve((0.1, 3), (0.5, 2), (0.4, 1), (0.5, 2), (0.5, 1.9), (0.5, 2), (0, 0))

  def stops(patience):
    return [n for n in range(len(rows) + 1) if training.has_stalled(rows[:n], patience)]

  assert stops(0) == []
  assert stops(1) == [3, 4, 6, 7]
  assert stops(2) == [4, 7]
  assert stops(3) == []
