"""A lift of minimum-norm attacks: first a look at every boundary, then the nearest."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import Array, Attack, Trial, where
from jaxadv.errors import InputError


class SurveyState(NamedTuple):
  inner: Any  # the attack's
  duals: Array  # [K], dual norm of each gap's gradient at the clean clip; 0: none
  seen: Array  # int32 [], gaps looked at

  @property
  def trial(self) -> Trial:
    return self.inner.trial


def survey(attack: Attack, classes: int) -> Attack:
  """The attack, going to the boundary that is nearest by first order.

  The margin follows the runner-up, by logits; another class may be nearer where its
  gradient is larger, and the minimum that is found is a local one. So the first
  `classes` - 1 steps take the gradient of gap_k = logits_label - logits_k of each other
  class k at the clean clip, and the attack, which begins after them, goes down
  min_k (gap_k + confidence) * w_k - confidence, w_k inversely proportional to the
  gradient's dual norm, in place of the margin. It has the margin's sign, and for a
  linear victim its nearest boundary, which then stays the nearest, is the global one.
  As DeepFool chooses its rival (Moosavi-Dezfooli et al., CVPR 2016, eq. 8), but once.

  classes: as many as the victim has. Untargeted and of one label; a target has but one
  way. DDN goes down the margin in place of the objective's loss.
  InputError for an attack that does not descend the margin, another number of classes,
  an objective that is targeted or has sets of labels.
  """
  if not attack.descends_margin:
    raise InputError(
      "survey is for attacks that go down the margin (carlini_wagner, "
      "carlini_wagner_linf, ddn, fmn): leave it out"
    )
  require(classes >= 2, "survey", classes, "the victim's number of classes")

  def init(key, problem):
    count = jax.eval_shape(problem.logits, problem.zero).shape[0]
    require(classes == count, "survey", classes, f"the victim's {count} classes")
    if problem.objective.targeted or problem.example.label.ndim:
      raise InputError("survey is for untargeted attacks on one label: leave it out")
    return SurveyState(attack.init(key, problem), jnp.zeros(count), jnp.int32(0))

  def step(key, state, problem):
    label, kappa = problem.example.label, problem.objective.confidence
    looking = state.seen < classes - 1
    rival = (label + 1 + state.seen) % classes
    weights = nearness(state.duals)

    def lead(logits):
      gaps = logits[label] - logits + kappa
      barred = (jnp.arange(classes) == label) | jnp.isinf(weights)
      nearest = jnp.argmin(jnp.where(barred, jnp.inf, gaps * weights))
      at = jnp.where(looking, rival, nearest)
      return gaps[at] * jnp.where(looking, 1.0, weights[at]) - kappa

    def gauge(grad):
      return problem.norm.dual(-grad, *problem.bounds)

    surveyed = problem._replace(lead=lead, gauge=gauge)
    inner = attack.step(key, state.inner, surveyed)
    seen = inner.trial.grad_size
    duals = state.duals.at[rival].set(jnp.where(jnp.isfinite(seen), seen, 0.0))
    # a look leaves the attack where it begins, at the clean clip
    waiting = state.inner._replace(trial=inner.trial)
    return SurveyState(
      where(looking, waiting, inner),
      jnp.where(looking, duals, state.duals),
      jnp.where(looking, state.seen + 1, state.seen),
    )

  return attack._replace(
    init=init,
    step=step,
    steps=attack.steps + classes - 1,
    finished=lambda state: attack.finished(state.inner),
  )


def nearness(duals: Array) -> Array:
  """Of each class, how near it is for its gap: 1, or less where its gradient is larger.

  inf for a class without a gradient, to which no step leads; 1 where none has one.
  [K] -> [K].
  """
  known = duals > 0
  smallest = jnp.min(jnp.where(known, duals, jnp.inf))
  weights = jnp.where(known, smallest / jnp.where(known, duals, 1.0), jnp.inf)
  return jnp.where(jnp.any(known), weights, 1.0)
