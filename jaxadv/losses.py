"""Losses of one example. Attacks go down; a targeted attack is another loss."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


def cross_entropy(logits: Array, label: Array) -> Array:
  """-log softmax(logits)[label]. [K], [] -> []."""
  return jax.nn.logsumexp(logits) - logits[label]


def margin(logits: Array, label: Array) -> Array:
  """logits[label] - max of the others; negative where the label lost. [K], [] -> []."""
  others = jnp.where(jnp.arange(logits.shape[-1]) == label, -jnp.inf, logits)
  return logits[label] - jnp.max(others)


def margin_loss(logits: Array, label: Array) -> Array:
  """-margin, so that it is high where the label loses, as every loss. [K], [] -> []."""
  return -margin(logits, label)


Loss = Callable[[Array, Array], Array]  # logits [K], label [] -> []


class Objective(NamedTuple):
  """What the attacker wants, of the logits and of (label, target) of the example.

  loss: logits [K], label [], target [] -> []; attacks go down.
  margin: logits [K], label [], target [] -> []; below `-confidence`: the attack won.
  confidence: [] in logits, >= 0 (kappa of Carlini and Wagner, Towards Evaluating the
    Robustness of Neural Networks, S&P 2017, eq. 6).
  """

  loss: Callable[[Array, Array, Array], Array]
  margin: Callable[[Array, Array, Array], Array]
  confidence: float

  def success(self, logits: Array, label: Array, target: Array) -> Array:
    return self.margin(logits, label, target) < -self.confidence


def untargeted(loss: Loss = cross_entropy, confidence: float = 0.0) -> Objective:
  """Any label but the true one."""
  return Objective(
    lambda logits, label, target: -loss(logits, label),
    lambda logits, label, target: margin(logits, label),
    confidence,
  )


def targeted(loss: Loss = cross_entropy, confidence: float = 0.0) -> Objective:
  """The target label."""
  return Objective(
    lambda logits, label, target: loss(logits, target),
    lambda logits, label, target: -margin(logits, target),
    confidence,
  )


LOSSES = {"cross_entropy": cross_entropy, "margin": margin_loss}
