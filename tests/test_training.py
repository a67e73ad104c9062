"""Training against closed forms, optax on its own, and counts by hand."""

import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxadv import training
from jaxadv.models import Classifier
from jaxadv.models.frontends import waveform, waveform_peak
from jaxadv.segments import Chunks, Waveforms, mixup_batches
from jaxadv.training import TrainState

CLASSES = 3


class Dense(nn.Module):
  """Batch norm, then dense: [B, frames, bands] -> [B, classes]."""

  classes: int = CLASSES
  takes: ClassVar[str] = "spectrogram"

  @nn.compact
  def __call__(self, x, train=False):
    flat = x.reshape(len(x), -1)
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, use_bias=False)
    return nn.Dense(self.classes)(norm(flat))


MODEL = Classifier(lambda x: x, Dense())


def toy(count: int, seed: int = 0) -> Chunks:
  """Separable chunks around -40 dB, one cell louder for each class; 2 to a clip."""
  rng = np.random.default_rng(seed)
  label = np.arange(count) // 2 % CLASSES
  features = -40 + 5 * rng.normal(size=(count, 4, CLASSES))
  features[np.arange(count), :, label] += 20
  clip = np.arange(count) // 2
  return Chunks(features.astype(np.float32), label, clip, clip % 4 != 0)


def test_the_schedule_decays_from_the_first_epoch_on():
  # where all gradients are equal, Adam's step is the rate: g / (|g| + 1e-7)
  steps = 3
  optimizer = training.adam(5e-4, decay=0.9, every=2, steps_per_epoch=steps)
  params = jnp.zeros(())
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for at in range(6 * steps):
    moved, state = update(jnp.float32(2.0), state, params)
    rate = 5e-4 * 0.9 ** ((at // steps) // 2 + 1)
    assert -float(moved) == pytest.approx(rate, rel=1e-4)


def test_adams_epsilon_is_keras():
  optimizer = training.adam(1.0, decay=1.0, every=1, steps_per_epoch=1)
  moved, _ = optimizer.update(jnp.float32(1e-7), optimizer.init(0.0), 0.0)
  assert -float(moved) == pytest.approx(0.5, rel=1e-3)


def test_the_scaler_holds_mean_and_deviation_of_all_features():
  chunks = toy(30)
  optimizer = optax.sgd(0.1)
  state = training.initial(MODEL, optimizer, chunks, 0)
  scaler = state.variables["scaler"]
  everything = chunks.features.astype(np.float64)
  assert float(scaler["mean"]) == pytest.approx(everything.mean(), rel=1e-6)
  assert float(scaler["deviation"]) == pytest.approx(everything.std(), rel=1e-6)
  other = training.initial(MODEL, optimizer, chunks, 1).variables["params"]
  kernel = state.variables["params"]["network"]["Dense_0"]["kernel"]
  assert (kernel != other["network"]["Dense_0"]["kernel"]).any()


def test_one_step_of_gradient_descent():
  chunks, rate = toy(8), 0.3
  optimizer = optax.sgd(rate)
  state = training.initial(MODEL, optimizer, chunks, 0)
  probs = np.random.default_rng(0).dirichlet(np.ones(CLASSES), 8).astype(np.float32)
  after, loss, accuracy = training.train_step(MODEL, optimizer)(
    state, chunks.features, probs, np.ones(8, np.float32)
  )

  scaler = jax.tree.map(float, state.variables["scaler"])
  x = np.float64(chunks.features).reshape(8, -1)
  x = (x - scaler["mean"]) / (scaler["deviation"] + 1e-6)
  mean, var = x.mean(0), x.var(0)
  x = (x - mean) / np.sqrt(var + 1e-5)
  dense = jax.tree.map(np.float64, state.variables["params"]["network"]["Dense_0"])
  logits = x @ dense["kernel"] + dense["bias"]
  said = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  assert float(loss) == pytest.approx(-(probs * np.log(said)).sum(1).mean(), rel=1e-5)
  assert float(accuracy) == (said.argmax(1) == probs.argmax(1)).mean()
  slope = (said - probs) / 8
  new = after.variables["params"]["network"]["Dense_0"]
  expected = dense["kernel"] - rate * x.T @ slope
  np.testing.assert_allclose(new["kernel"], expected, atol=1e-5)
  np.testing.assert_allclose(new["bias"], -rate * slope.sum(0), atol=1e-6)
  stats = after.variables["batch_stats"]["network"]["BatchNorm_0"]
  np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-5)
  np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, atol=1e-5)
  assert jax.tree.map(float, after.variables["scaler"]) == scaler


def test_it_learns_what_can_be_separated():
  chunks, unseen = toy(60), toy(40, seed=1)
  optimizer = training.adam(0.05, decay=0.9, every=2, steps_per_epoch=10)
  state = training.initial(MODEL, optimizer, chunks, 0)
  step, predict = training.train_step(MODEL, optimizer), training.predict(MODEL)
  untrained = training.judge_clips(predict, state.variables, unseen, 8)
  losses = []
  for epoch in range(8):
    for batch in mixup_batches(
      chunks, CLASSES, batch=8, steps=10, alpha=0.0, seed=(0, epoch)
    ):
      state, loss, _ = step(state, *batch)
      losses.append(float(loss))
  assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:10])
  learned = training.judge_clips(predict, state.variables, unseen, 8)
  assert learned.accuracy > 0.95 > untrained.accuracy
  assert learned.loss < 0.3 < untrained.loss
  assert isinstance(state, TrainState)


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 64])
def test_accuracy_by_hand(batch):
  # chunk probabilities are the first band of the features
  probs = np.float32(
    [
      [0.9, 0.1, 0.0],  # clip 7, label 0: mean .5, .45, .05: right
      [0.4, 0.6, 0.0],  # clip 2, label 1: right
      [0.1, 0.8, 0.1],  # clip 7, a vote of its own would be wrong
      [0.2, 0.3, 0.5],  # clip 9, label 0: wrong
      [0.0, 0.1, 0.9],  # clip 3, label 2, mean 0, .5, .5 but for a hair: right
      [0.0, 0.89, 0.11],
    ]
  )
  label, clip = np.array([0, 1, 0, 0, 2, 2]), np.array([7, 2, 7, 9, 3, 3])
  chunks = Chunks(probs[:, None], label, clip, np.ones(6, bool))
  seen = []

  def predict(variables, x):
    seen.append(x.shape)
    return variables * x[:, 0]

  said = training.judge_clips(predict, 1.0, chunks, batch)
  assert said.accuracy == 3 / 4
  assert said.clip.tolist() == [2, 3, 7, 9] and said.label.tolist() == [1, 2, 0, 0]
  np.testing.assert_allclose(said.probs[2], [0.5, 0.45, 0.05], atol=1e-6)
  rights = [0.6, 0.505, 0.5, 0.2]
  assert said.loss == pytest.approx(-np.log(rights).mean(), rel=1e-5)
  # one shape, so that one program serves
  assert set(seen) == {(batch, 1, 3)}


def test_predictions_are_the_softmax_in_eval_mode():
  chunks = toy(6)
  state = training.initial(MODEL, optax.sgd(0.1), chunks, 0)
  found = training.predict(MODEL)(state.variables, chunks.features)
  np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
  # running statistics are still 0 and 1, so the batch norm does nothing
  scaler = jax.tree.map(float, state.variables["scaler"])
  x = (np.float64(chunks.features) - scaler["mean"]) / scaler["deviation"]
  dense = state.variables["params"]["network"]["Dense_0"]
  logits = x.reshape(6, -1) @ np.float64(dense["kernel"])
  for (i, a), (j, b) in itertools.combinations(enumerate(logits), 2):
    gaps = np.log(np.float64(found[i])) - np.log(np.float64(found[j]))
    assert np.ptp(gaps - (a - b)) < 1e-3


# losses of five examples, the share of each that is of unverified clips
LOSSES = jnp.array([1.0, 10.0, 8.5, 7.9, 9.0])
UNVERIFIED = jnp.array([1.0, 0.0, 0.3, 1.0, 0.0])


@pytest.mark.parametrize(
  "mask, weight, kept",
  [
    (0.0, 1.0, [1, 10, 8.5, 7.9, 9]),
    # above 8: the second and the last are verified, the third is not, if only in part
    (0.8, 1.0, [1, 10, 0, 7.9, 9]),
    (0.75, 1.0, [1, 10, 0, 0, 9]),
    (0.95, 1.0, [1, 10, 8.5, 7.9, 9]),
    # weights are mixed as labels are
    (0.0, 0.5, [0.5, 10, 0.85 * 8.5, 3.95, 9]),
    (0.8, 0.5, [0.5, 10, 0, 3.95, 9]),
  ],
)
def test_noisy_labels_by_hand(mask, weight, kept):
  found = training.noisy_mean(LOSSES, UNVERIFIED, mask=mask, weight=weight)
  assert float(found) == pytest.approx(sum(kept) / 5, rel=1e-6)


def test_a_masked_example_teaches_nothing():
  """All but the verified example are masked: the step is that of it alone."""
  chunks = toy(4)
  state = training.initial(MODEL, optax.sgd(0.1), chunks, 0)
  probs = np.eye(CLASSES, dtype=np.float32)[chunks.label]
  tiny_mask = {"mask_noisy": 1e-9, "unverified_weight": 1.0}
  unverified = np.float32([1, 0.5, 0, 1])
  masked = training.train_step(MODEL, optax.sgd(0.1), **tiny_mask)
  alone = training.train_step(MODEL, optax.sgd(0.1), unverified_weight=0.0)
  one, loss, _ = masked(state, chunks.features, probs, unverified)
  # weight 0 and all of the mixture unverified: the same three count nothing
  other, expected, _ = alone(state, chunks.features, probs, np.float32(unverified > 0))
  assert float(loss) == pytest.approx(float(expected), rel=1e-5) and float(loss) > 0
  before = state.variables["params"]["network"]["Dense_0"]["kernel"]
  kernels = [
    s.variables["params"]["network"]["Dense_0"]["kernel"] for s in (one, other)
  ]
  np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-6)
  assert abs(kernels[0] - before).max() > 1e-4


class Loudness(nn.Module):
  """Takes waveforms: their peak, mean and power, then dense. [B, samples] -> logits."""

  classes: int = CLASSES
  takes: ClassVar[str] = "waveform"

  @nn.compact
  def __call__(self, x, train=False):
    found = jnp.stack([x.max(1), x.mean(1), (x**2).mean(1)], axis=1)
    return nn.Dense(self.classes)(found)


@pytest.mark.parametrize("frontend", [waveform, waveform_peak])
def test_a_network_of_waveforms_hears_whole_clips(frontend):
  rng = np.random.default_rng(0)
  waves = tuple(rng.normal(size=n).astype(np.float32) for n in (70000, 50, 65536, 9))
  rows = np.arange(4)
  clips = Waveforms(waves, rows % CLASSES, rows, rows > 0, 32, False)
  model = Classifier(frontend, Loudness())
  state = training.initial(model, optax.sgd(0.1), clips, 0)
  # no scaler was fitted: what these clips say is up to the network alone
  assert jax.tree.map(float, state.variables["scaler"]) == {"mean": 0, "deviation": 1}
  said = training.judge_clips(training.predict(model), state.variables, clips, 4)
  dense = jax.tree.map(np.float64, state.variables["params"]["network"]["Dense_0"])
  for wave, probs in zip(waves, said.probs, strict=True):
    x = np.pad(wave, (0, -len(wave) % 65536)).astype(np.float64)
    x = x / abs(x).max() if frontend is waveform_peak else x
    logits = np.array([x.max(), x.mean(), (x**2).mean()]) @ dense["kernel"]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(probs, expected, atol=1e-4)
