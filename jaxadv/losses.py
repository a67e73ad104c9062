"""Losses of one example. Attacks go down; a targeted attack is another loss."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.errors import InputError

Array = jax.Array


@jax.custom_jvp
def cross_entropy(logits: Array, label: Array) -> Array:
  """-log softmax(logits)[label]. [K], [] -> [].

  In terms of the others' probabilities, as its gradient at the label: with 1 - p, as
  usual, both are 0 in float32 once the others have less than 6e-8 together.
  """
  others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
  return jax.nn.softplus(jax.nn.logsumexp(others) - logits[label])


@cross_entropy.defjvp
def _(primals, tangents):  # finite, whatever the logits that are -inf
  logits, label = primals
  others = jnp.where(jnp.arange(logits.size) == label, 0.0, jax.nn.softmax(logits))
  toward = jnp.sum(others * tangents[0]) - jnp.sum(others) * tangents[0][label]
  return cross_entropy(logits, label), toward


def margin(logits: Array, label: Array) -> Array:
  """logits[label] - max of the others; negative where the label lost. [K], [] -> []."""
  others = jnp.where(jnp.arange(logits.shape[-1]) == label, -jnp.inf, logits)
  return logits[label] - jnp.max(others)


def margin_loss(logits: Array, label: Array) -> Array:
  """-margin, so that it is high where the label loses, as every loss. [K], [] -> []."""
  return -margin(logits, label)


def _ranked(logits, count, name):
  if logits.shape[-1] < count:
    raise InputError(
      f"{name} needs {count} classes and the victim has {logits.shape[-1]}: take the "
      "margin loss"
    )
  return jax.lax.top_k(logits, count)[0]


def dlr(logits: Array, label: Array) -> Array:
  """-(z_y - max of the others) / (z_(1) - z_(3)): invariant to shift and scale.

  [K], [] -> []; z_(i) the i-th largest. InputError below 3 classes. Croce and Hein,
  Reliable evaluation of adversarial robustness, ICML 2020, eq. 6.
  """
  top = _ranked(logits, 3, "the DLR loss")
  return -margin(logits, label) / (top[0] - top[2] + 1e-12)


def dlr_targeted(logits: Array, label: Array, target: Array) -> Array:
  """(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), low where the target wins.

  [K], [], [] -> []. InputError below 4 classes. Croce and Hein, ICML 2020, eq. 7.
  """
  top = _ranked(logits, 4, "the targeted DLR loss")
  scale = top[0] - (top[2] + top[3]) / 2 + 1e-12
  return (logits[label] - logits[target]) / scale


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
  """Mean over classes of -log sigmoid of the right answer; labels -1 do not count.

  [K], [K] -> [].
  """
  each = jax.nn.softplus(jnp.where(labels == 1, -logits, logits))
  counts = labels >= 0
  return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1)


Loss = Callable[[Array, Array], Array]  # logits [K], label [] -> []


class Objective(NamedTuple):
  """What the attacker wants, of the logits and of (label, target) of the example.

  loss: logits [K], label [], target [] -> []; attacks go down.
  margin: logits [K], label [], target [] -> []; below `-confidence`: the attack won.
  confidence: [] in logits, >= 0 (kappa of Carlini and Wagner, Towards Evaluating the
    Robustness of Neural Networks, S&P 2017, section VI.A).
  targeted: whether the target plays a part.
  """

  loss: Callable[[Array, Array, Array], Array]
  margin: Callable[[Array, Array, Array], Array]
  confidence: float
  targeted: bool = False

  def success(self, logits: Array, label: Array, target: Array) -> Array:
    return self.margin(logits, label, target) < -self.confidence


def _checked(objective: Objective) -> Objective:
  if not objective.confidence >= 0:
    raise InputError(f"confidence is {objective.confidence!r}: give at least 0")
  return objective


def untargeted(loss: Loss = cross_entropy, confidence: float = 0.0) -> Objective:
  """Any label but the true one."""
  return _checked(
    Objective(
      lambda logits, label, target: -loss(logits, label),
      lambda logits, label, target: margin(logits, label),
      confidence,
    )
  )


def targeted(loss: Loss = cross_entropy, confidence: float = 0.0) -> Objective:
  """The target label. `dlr` becomes `dlr_targeted`."""

  def towards(logits, label, target):
    if loss is dlr:
      return dlr_targeted(logits, label, target)
    return loss(logits, target)

  return _checked(
    Objective(
      towards,
      lambda logits, label, target: -margin(logits, target),
      confidence,
      targeted=True,
    )
  )


def _worst(logits, labels, counts):
  """The smallest lead over the threshold among the classes that count."""
  lead = jnp.where(labels == 1, logits, -logits)
  return jnp.min(jnp.where(counts, lead, jnp.inf))


def _all_missed(logits, labels):
  present = labels == 1
  best = jnp.max(jnp.where(present, logits, -jnp.inf))
  return jnp.where(jnp.any(present), best, jnp.inf)


LABEL_RULES = {  # logits [K], labels multi-hot [K] -> [], below 0 where the attack won
  "any_changed": lambda logits, labels: _worst(logits, labels, labels >= 0),
  "any_missed": lambda logits, labels: _worst(logits, labels, labels == 1),
  "all_missed": _all_missed,
}


def untargeted_labels(
  rule: str = "any_changed",
  loss: Loss = binary_cross_entropy,
  confidence: float = 0.0,
) -> Objective:
  """Another set of labels, for victims whose classes are sigmoids with threshold 1/2.

  rule: "any_changed" (some label missing or added), "any_missed" (some true label
  missing), "all_missed" (no true label left).
  """
  if rule not in LABEL_RULES:
    raise InputError(f"rule is {rule!r}: choose from {', '.join(LABEL_RULES)}")
  return _checked(
    Objective(
      lambda logits, label, target: -loss(logits, label),
      lambda logits, label, target: LABEL_RULES[rule](logits, label),
      confidence,
    )
  )


def targeted_labels(
  loss: Loss = binary_cross_entropy, confidence: float = 0.0
) -> Objective:
  """Exactly the target set: 1 wanted, 0 unwanted, -1 no matter."""
  return _checked(
    Objective(
      lambda logits, label, target: loss(logits, target),
      lambda logits, label, target: -_worst(logits, target, target >= 0),
      confidence,
      targeted=True,
    )
  )


LOSSES = {"cross_entropy": cross_entropy, "margin": margin_loss, "dlr": dlr}
