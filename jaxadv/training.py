"""Training a network on log-mel chunks: mixup batches, one compiled step, epochs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv.models import Classifier

Array = jax.Array


class Chunks(NamedTuple):
  """features float32 [n, frames, bands] in dB; label int [n]; clip int [n], whose."""

  features: np.ndarray
  label: np.ndarray
  clip: np.ndarray


class TrainState(NamedTuple):
  variables: Any  # params, batch_stats, scaler
  opt: Any


def class_balanced(
  label: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
  """`count` indices: a uniform class each, then the next of its shuffled examples."""
  order = {c: rng.permutation(np.flatnonzero(label == c)) for c in np.unique(label)}
  classes = rng.choice(list(order), count)
  taken = dict.fromkeys(order, 0)
  picked = np.empty(count, np.int64)
  for at, c in enumerate(classes):
    picked[at] = order[c][taken[c] % len(order[c])]
    taken[c] += 1
  return picked


def mixup_batches(
  chunks: Chunks,
  classes: int,
  *,
  batch: int,
  steps: int,
  alpha: float,
  seed: int | Sequence[int],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields (features [batch, frames, bands], probabilities [batch, classes]).

  lambda * one + (1 - lambda) * other, lambda ~ Beta(alpha, alpha) for each pair, both
  drawn class-balanced, before standardisation. alpha 0: no mixup.
  Zhang et al., mixup, ICLR 2018; Iqbal et al., DCASE 2018 task 2 (per-pair lambda).
  """
  rng = np.random.default_rng(seed)
  one, other = (class_balanced(chunks.label, batch * steps, rng) for _ in range(2))
  share = rng.beta(alpha, alpha, batch * steps) if alpha else np.ones(batch * steps)
  share = share.astype(np.float32)
  identity = np.eye(classes, dtype=np.float32)
  for start in range(0, batch * steps, batch):
    i, j = one[start : start + batch], other[start : start + batch]
    a = share[start : start + batch, None]
    x = a[..., None] * chunks.features[i] + (1 - a[..., None]) * chunks.features[j]
    yield x, a * identity[chunks.label[i]] + (1 - a) * identity[chunks.label[j]]


def adam(
  learning_rate: float, *, decay: float, every: int, steps_per_epoch: int
) -> optax.GradientTransformation:
  """Adam, epsilon 1e-7, rate * decay^(epoch // every + 1): decayed from epoch 0 on.

  Iqbal et al., DCASE 2018 task 2, the authors' code (5e-4, 0.9, 2).
  """

  def rate(step):
    return learning_rate * decay ** (step // (steps_per_epoch * every) + 1)

  return optax.adam(rate, eps=1e-7)


def initial(
  model: Classifier, optimizer: optax.GradientTransformation, chunks: Chunks, seed: int
) -> TrainState:
  """Random parameters; the scaler holds the mean and deviation of all features."""
  key = jax.random.key(seed)
  variables = model.init(key, chunks.features[:1], method=Classifier.chunk_logits)
  scaler = {
    "mean": jnp.float32(chunks.features.mean(dtype=np.float64)),
    "deviation": jnp.float32(chunks.features.std(dtype=np.float64)),
  }
  variables = {**variables, "scaler": scaler}
  return TrainState(variables, optimizer.init(variables["params"]))


def train_step(model: Classifier, optimizer: optax.GradientTransformation) -> Callable:
  """Jitted: state, features, probabilities -> state, mean cross-entropy []."""

  def loss(params, variables, x, probs):
    logits, updated = model.apply(
      {**variables, "params": params},
      x,
      train=True,
      mutable=["batch_stats"],
      method=Classifier.chunk_logits,
    )
    return optax.softmax_cross_entropy(logits, probs).mean(), updated

  @jax.jit
  def step(state, x, probs):
    variables = state.variables
    (value, updated), grads = jax.value_and_grad(loss, has_aux=True)(
      variables["params"], variables, x, probs
    )
    updates, opt = optimizer.update(grads, state.opt, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    return TrainState({**variables, **updated, "params": params}, opt), value

  return step


def predict(model: Classifier) -> Callable:
  """Jitted: variables, features [B, frames, bands] -> probabilities [B, classes]."""

  @jax.jit
  def probabilities(variables, x):
    logits = model.apply(variables, x, method=Classifier.chunk_logits)
    return jax.nn.softmax(cast(Array, logits))

  return probabilities


def clip_accuracy(
  probabilities: Callable, variables: Any, chunks: Chunks, batch: int
) -> float:
  """Share of clips whose mean probability over chunks peaks at their label."""
  count = len(chunks.label)
  padded = np.pad(chunks.features, ((0, -count % batch), (0, 0), (0, 0)))
  parts = [
    probabilities(variables, padded[start : start + batch])
    for start in range(0, count, batch)
  ]
  probs = np.concatenate(parts)[:count]
  clips, where = np.unique(chunks.clip, return_inverse=True)
  total = np.zeros((len(clips), probs.shape[1]))
  np.add.at(total, where, probs)
  label = np.zeros(len(clips), np.int64)
  label[where] = chunks.label
  return float((total.argmax(1) == label).mean())
