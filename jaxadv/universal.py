"""One perturbation for many examples: the lift over a batch. Attacks don't change."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxadv.core import Bind, Example, Goal, Problem, Trial
from jaxadv.losses import Objective
from jaxadv.norms import L2
from jaxadv.problem import Threat

Array = jax.Array

# trials of different minibatches can't be ranked: the latest perturbation counts
LATEST = Goal(lambda new, old: jnp.bool_(True), lambda best: jnp.bool_(False))


class Budget(NamedTuple):
  """radius: of the shared perturbation u, in the threat's norm.
  scale: x [...] -> [], clip i hears u * scale(x_i).
  """

  radius: Callable[[Threat, Array], Array]
  scale: Callable[[Threat, Array], Array]


BUDGETS = {
  "absolute": Budget(
    lambda threat, mask: jnp.float32(threat.radius), lambda threat, x: jnp.float32(1.0)
  ),
  "relative": Budget(
    lambda threat, mask: jnp.float32(threat.radius),
    lambda threat, x: threat.norm.size(x),
  ),
  "snr_db": Budget(
    lambda threat, mask: threat.norm.within_l2(jnp.float32(threat.given), mask),
    lambda threat, x: L2.size(x),
  ),
}


def over_batch(objective: Objective) -> Objective:
  """Loss and margin of a batch: the means over its examples. [B, K], [B], [B] -> []."""

  def mean(function):
    return lambda logits, label, target: jnp.mean(
      jax.vmap(function)(logits, label, target)
    )

  return objective._replace(loss=mean(objective.loss), margin=mean(objective.margin))


def shared(batch: Example, mask: Array | None = None) -> Example:
  """The Example whose perturbation a batch shares: x = 0, labels and targets [B].

  mask: where the perturbation may write, for all; everywhere by default (each clip's
  own mask cuts it off besides).
  """
  zero = jnp.zeros_like(batch.x[0])
  mask = jnp.ones_like(zero) if mask is None else jnp.asarray(mask, jnp.float32)
  others = (batch,)
  return Example(jnp.int32(0), zero, mask, batch.label, batch.target, others)


def heard(threat: Threat, batch: Example, u: Array) -> Array:
  """The clips with the shared perturbation, each in its mask and the box. [B, ...]."""

  def one(x, mask):
    moved = x + u * BUDGETS[threat.budget].scale(threat, x * mask) * mask
    return jnp.clip(moved, *threat.box)

  return jax.vmap(one)(batch.x, batch.mask)


def bind_universal(logits_fn: Callable, threat: Threat, objective: Objective) -> Bind:
  """params, key, `shared(batch)` -> Problem of one perturbation u over the batch.

  Clip i hears clip(x_i + u * scale_i): with an absolute budget scale_i = 1 and u has
  the threat's radius; with "relative" scale_i = size(x_i), with "snr_db" |x_i|_2, so
  that every clip has at least that SNR. `drive.driver(attack, bind, LATEST)` advances
  by one minibatch a step; its steps are epochs * minibatches.
  Li et al., Audio-visual event recognition through the lens of adversary, ICASSP 2021,
  section 3 (one perturbation for a data set); Moosavi-Dezfooli et al., Universal
  Adversarial Perturbations, CVPR 2017.
  """
  low, high = threat.box

  def problem(params, key, example):
    del key
    (batch,) = example.other

    def logits(u):
      xs = heard(threat, batch, u * example.mask)
      return jax.vmap(lambda x, *other: logits_fn(params, x, *other))(xs, *batch.other)

    return Problem(
      example,
      threat.norm,
      BUDGETS[threat.budget].radius(threat, example.mask),
      (low - high, high - low),  # u is no clip: each clip's own box cuts it off
      over_batch(objective),
      logits,
    )

  return problem


class Sums(NamedTuple):
  """Over the clips of a batch, float32 [] each; those of batches and devices add up."""

  clips: Any
  loss: Any
  margin: Any
  fooled: Any  # clips that the attack won
  signal: Any  # energy of the clips
  noise: Any  # energy of what was added to them


def bind_split(
  logits_fn: Callable,
  threat: Threat,
  objective: Objective,
  axis: str,
  tell: Callable[[Sums], object],
) -> Bind:
  """As `bind_universal`, inside `jax.shard_map`, of a batch split over a mesh axis.

  One all-reduce carries the gradient and all sums, so the attack sees the mean over the
  whole batch and moves alike on every device. Examples with id -1 don't count: they
  fill up a batch that the devices don't divide. For attacks whose step asks
  `evaluate_with_grad` and nothing else. tell: given the sums while a step is traced,
  which have no place in a Trial.
  """
  bound = bind_universal(logits_fn, threat, objective)

  class Split(Problem):
    def evaluate_with_grad(self, delta):
      (batch,) = self.example.other

      def share(delta):
        sums = _sums(objective, threat, batch, self.logits(delta), delta)
        return sums.loss, sums

      (_, sums), grad = jax.value_and_grad(share, has_aux=True)(delta)
      flat, unravel = ravel_pytree((sums, grad))
      sums, grad = unravel(jax.lax.psum(flat, axis))
      tell(sums)
      count = jnp.maximum(sums.clips, 1.0)
      trial = Trial(
        delta,
        sums.loss / count,
        sums.margin / count < -objective.confidence,
        self.norm.size(delta),
        jnp.float32(jnp.inf),
      )
      return self.checked(trial, grad / count)

  return lambda params, key, example: Split(*bound(params, key, example))


def _sums(objective, threat, batch, logits, u) -> Sums:
  """Of one device's share of a batch; u is 0 outside its mask."""
  counts = batch.id >= 0

  def total(values):
    return jnp.sum(jnp.where(counts, values, 0.0))

  def each(function):
    return total(jax.vmap(function)(logits, batch.label, batch.target))

  def energy(x):
    return total(jax.vmap(lambda x: jnp.sum(jnp.square(x)))(x))

  added = jax.lax.stop_gradient(heard(threat, batch, u)) - batch.x
  return Sums(
    total(1.0),
    each(objective.loss),
    each(objective.margin),
    each(objective.success),
    energy(batch.x),
    energy(added),
  )
