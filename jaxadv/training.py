"""Training a network: one compiled step, the loss of noisy labels, early stopping."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxadv.models import Classifier
from jaxadv.segments import Chunks, Examples

Array = jax.Array
_SMALLEST_PROBABILITY = 1e-7  # as Keras clips it in its cross-entropy


class TrainState(NamedTuple):
  variables: Any  # params, batch_stats, scaler
  opt: Any


class Said(NamedTuple):
  """What a network says of clips. clip, label: int [n]; probs: float64 [n, classes]."""

  clip: np.ndarray
  label: np.ndarray
  probs: np.ndarray

  @property
  def accuracy(self) -> float:
    return float((self.probs.argmax(1) == self.label).mean())

  @property
  def loss(self) -> float:
    """Mean cross-entropy; no probability counts as less than 1e-7."""
    right = self.probs[np.arange(len(self.label)), self.label]
    return float(-np.log(np.maximum(right, _SMALLEST_PROBABILITY)).mean())


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
  model: Classifier, optimizer: optax.GradientTransformation, examples: Examples, seed
) -> TrainState:
  """Random parameters; the scaler holds the mean and deviation of all features.

  A network that takes waveforms has its own normalisation: its scaler stays as it is.
  """
  one = examples.draw(np.zeros(1, np.int64), np.random.default_rng(seed))
  variables = model.init(jax.random.key(seed), one, method=Classifier.chunk_logits)
  if isinstance(examples, Chunks):
    scaler = {
      "mean": jnp.float32(examples.features.mean(dtype=np.float64)),
      "deviation": jnp.float32(examples.features.std(dtype=np.float64)),
    }
    variables = {**variables, "scaler": scaler}
  return TrainState(variables, optimizer.init(variables["params"]))


def noisy_mean(
  losses: Array, unverified: Array, *, mask: float, weight: float
) -> Array:
  """Mean over a batch, in which clips that nobody verified count less: [B], [B] -> [].

  unverified: the share of each mixture that comes from such clips. Their share of a
  loss counts `weight` (Iqbal et al., DCASE 2018 task 2: sample weights are mixed as the
  labels are). mask > 0: a loss above mask * (largest of the batch) counts 0 where any
  of the mixture is unverified (Jeong and Lim, DCASE 2018 task 2, the authors' code:
  0.8). All B are divided by.
  """
  counts = 1 - (1 - weight) * unverified
  if mask:
    noisy = (unverified > 0) & (losses > mask * losses.max())
    counts = jnp.where(noisy, 0, counts)
  return (counts * losses).mean()


def train_step(
  model: Classifier,
  optimizer: optax.GradientTransformation,
  *,
  mask_noisy: float = 0.0,
  unverified_weight: float = 1.0,
) -> Callable:
  """Jitted: state, x, probabilities, unverified [B] -> state, loss [], accuracy [].

  The loss is the `noisy_mean` of the cross-entropies. Accuracy: the share of the batch
  whose likeliest class is the one that most of the mixture is of.
  """

  def loss(params, variables, x, probs, unverified):
    logits, updated = model.apply(
      {**variables, "params": params},
      x,
      train=True,
      mutable=["batch_stats"],
      method=Classifier.chunk_logits,
    )
    losses = optax.softmax_cross_entropy(cast(Array, logits), probs)
    value = noisy_mean(losses, unverified, mask=mask_noisy, weight=unverified_weight)
    right = cast(Array, logits).argmax(1) == probs.argmax(1)
    return value, (updated, right.mean())

  @jax.jit
  def step(state, x, probs, unverified):
    variables = state.variables
    (value, (updated, accuracy)), grads = jax.value_and_grad(loss, has_aux=True)(
      variables["params"], variables, x, probs, unverified
    )
    updates, opt = optimizer.update(grads, state.opt, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    state = TrainState({**variables, **updated, "params": params}, opt)
    return state, value, accuracy

  return step


def predict(model: Classifier) -> Callable:
  """Jitted: variables, chunks or whole clips [B, ...] -> probabilities [B, classes].

  Clips of waveforms go through the frontend, as they are attacked.
  """

  @jax.jit
  def probabilities(variables, x):
    if model.network.takes == "waveform":
      logits = jax.vmap(lambda clip: model.apply(variables, clip))(x)
    else:
      logits = model.apply(variables, x, method=Classifier.chunk_logits)
    return jax.nn.softmax(cast(Array, logits))

  return probabilities


def judge_clips(
  probabilities: Callable, variables: Any, examples: Examples, batch: int
) -> Said:
  """What the network says of each clip: the mean probability over its rows."""
  clips, where = np.unique(examples.clip, return_inverse=True)
  label = np.zeros(len(clips), np.int64)
  label[where] = examples.label
  total = None
  for rows, x in examples.whole(batch):
    probs = np.asarray(probabilities(variables, x), np.float64)[: len(rows)]
    if total is None:
      total = np.zeros((len(clips), probs.shape[1]))
    np.add.at(total, where[rows], probs)
  if total is None:
    raise ValueError("there are no clips to judge")
  return Said(clips, label, total / np.bincount(where)[:, None])


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
  """Index of the highest validation_accuracy; of equals the lowest validation_loss,
  then the earliest."""

  def rank(at: int):
    return history[at]["validation_accuracy"], -history[at]["validation_loss"], -at

  return max(range(len(history)), key=rank)


def has_stalled(history: Sequence[Mapping[str, float]], patience: int) -> bool:
  """Whether the last `patience` epochs brought nothing better; never for patience 0."""
  return 0 < patience < len(history) - best_epoch(history) if history else False
