"""Training against closed forms, optax on its own, and counts by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxadv import training
from jaxadv.models import Classifier
from jaxadv.training import Chunks, TrainState

CLASSES = 3


class Dense(nn.Module):
  """Batch norm, then dense: [B, frames, bands] -> [B, classes]."""

  classes: int = CLASSES

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
  return Chunks(features.astype(np.float32), label, np.arange(count) // 2)


def batches(chunks: Chunks, **changes):
  options = {"batch": 8, "steps": 50, "alpha": 1.0, "seed": (0, 1)} | changes
  found = list(training.mixup_batches(chunks, CLASSES, **options))
  assert len(found) == options["steps"]
  assert all(len(x) == len(probs) == options["batch"] for x, probs in found)
  return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def test_batches_are_balanced_over_classes():
  # 90 examples of class 0, 9 of class 1, 1 of class 5
  label = np.repeat([0, 1, 5], [90, 9, 1])
  picked = training.class_balanced(label, 6000, np.random.default_rng(0))
  counts = np.bincount(label[picked], minlength=6)
  # binomial(6000, 1/3): 4 deviations
  assert (abs(counts[[0, 1, 5]] - 2000) < 4 * np.sqrt(6000 * 2 / 9)).all()
  assert counts.sum() == 6000


def test_a_class_is_used_up_before_it_repeats():
  label = np.repeat([0, 1], [7, 4])
  picked = training.class_balanced(label, 200, np.random.default_rng(0))
  for c, size in ((0, 7), (1, 4)):
    mine = picked[label[picked] == c]
    rounds = [mine[at : at + size] for at in range(0, len(mine) - size + 1, size)]
    assert len(rounds) > 5
    assert all(set(one) == set(np.flatnonzero(label == c)) for one in rounds)
  orders = {
    tuple(training.class_balanced(label, 50, np.random.default_rng(seed)))
    for seed in range(5)
  }
  assert len(orders) == 5


def test_mixup_is_linear_in_features_and_labels():
  # a feature that names its chunk tells the pair and lambda from the mixture
  chunks = toy(12)
  index = np.arange(12, dtype=np.float32)
  coded = np.stack([np.eye(12, dtype=np.float32)[n] for n in range(12)])[:, None]
  features = np.concatenate([coded, index[:, None, None] * np.ones((1, 1, 12))], 1)
  x, probs = batches(chunks._replace(features=features.astype(np.float32)))
  share = x[:, 0]
  assert x.dtype == probs.dtype == np.float32
  assert (share >= 0).all() and ((share > 0).sum(1) <= 2).all()
  np.testing.assert_allclose(share.sum(1), 1, atol=1e-6)
  np.testing.assert_allclose(x[:, 1], (share @ index)[:, None] * np.ones(12), rtol=1e-5)
  expected = share @ np.eye(CLASSES)[chunks.label]
  np.testing.assert_allclose(probs, expected, atol=1e-6)
  np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
  # one lambda for each pair, uniform for alpha 1
  largest = share.max(1)[(share > 0).sum(1) == 2]
  assert len(np.unique(largest)) > 0.95 * len(largest)
  assert np.mean(largest) == pytest.approx(0.75, abs=0.03)
  # both of a pair are drawn for themselves
  assert (((probs > 0).sum(1) == 1).mean()) == pytest.approx(1 / CLASSES, abs=0.1)


def test_small_alpha_mixes_little():
  # Beta(a, a) has variance 1 / (4 (2 a + 1))
  coded = np.eye(12, dtype=np.float32)[:, None]
  chunks = toy(12)._replace(features=coded)
  share = batches(chunks, alpha=0.1, steps=200)[0][:, 0].max(1)
  assert np.mean((share - 0.5) ** 2) == pytest.approx(1 / (4 * 1.2), rel=0.1)


def test_no_mixup_gives_the_originals():
  chunks = toy(12)
  x, probs = batches(chunks, alpha=0.0)
  originals = {one.tobytes(): label for one, label in zip(*chunks[:2], strict=True)}
  labels = [originals[one.tobytes()] for one in x]
  np.testing.assert_array_equal(probs, np.eye(CLASSES)[labels])


def test_the_seed_decides_the_batches():
  chunks = toy(12)
  one, again, other = (batches(chunks, seed=seed)[0] for seed in ((0, 1), (0, 1), 2))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()


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
  after, loss = training.train_step(MODEL, optimizer)(state, chunks.features, probs)

  scaler = jax.tree.map(float, state.variables["scaler"])
  x = np.float64(chunks.features).reshape(8, -1)
  x = (x - scaler["mean"]) / (scaler["deviation"] + 1e-6)
  mean, var = x.mean(0), x.var(0)
  x = (x - mean) / np.sqrt(var + 1e-5)
  dense = jax.tree.map(np.float64, state.variables["params"]["network"]["Dense_0"])
  logits = x @ dense["kernel"] + dense["bias"]
  said = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  assert float(loss) == pytest.approx(-(probs * np.log(said)).sum(1).mean(), rel=1e-5)
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
  untrained = training.clip_accuracy(predict, state.variables, unseen, 8)
  losses = []
  for epoch in range(8):
    for x, probs in training.mixup_batches(
      chunks, CLASSES, batch=8, steps=10, alpha=0.0, seed=(0, epoch)
    ):
      state, loss = step(state, x, probs)
      losses.append(float(loss))
  assert np.mean(losses[-10:]) < 0.2 * np.mean(losses[:10])
  learned = training.clip_accuracy(predict, state.variables, unseen, 8)
  assert learned > 0.95 > untrained
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
  chunks = Chunks(probs[:, None], label, clip)
  seen = []

  def predict(variables, x):
    seen.append(x.shape)
    return variables * x[:, 0]

  assert training.clip_accuracy(predict, 1.0, chunks, batch) == 3 / 4
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
