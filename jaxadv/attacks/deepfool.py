"""DeepFool: to the nearest decision boundary of the linearised victim, repeatedly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged


class DeepFoolState(NamedTuple):
  candidate: Array
  trial: Trial
  total: Array  # sum of the steps, without overshoot
  rivals: Array  # int32 [R], the classes that come into question
  first: Array  # bool []


def deepfool(
  *, steps: int = 50, classes: int = 10, overshoot: float = 0.02, nudge: float = 1e-4
) -> Attack:
  """Untargeted minimum-norm attack; label = the class to be left.

  With f_k = logits_k - logits_label and w_k its gradient, the rival k with the smallest
  |f_k| / dual(w_k) gives the step (|f_k| / dual(w_k) + nudge) * steepest(w_k); what is
  judged is x + (1 + overshoot) * sum of steps. Rivals: the `classes` - 1 largest other
  logits of the clean clip, as in the authors' code. steps: at most so many steps;
  steps + 1 points are judged, the clean clip first.
  Moosavi-Dezfooli et al., DeepFool, CVPR 2016, algorithm 2 (l2), section 3.3 (lp).
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(classes >= 2, "classes", classes, "at least 2")
  require(overshoot >= 0, "overshoot", overshoot, "0 or more")

  def init(key, problem):
    count = jax.eval_shape(problem.logits, problem.zero).shape[0]
    rivals = jnp.zeros(min(classes, count) - 1, jnp.int32)
    start = (problem.zero, unjudged(problem), problem.zero)
    return DeepFoolState(*start, rivals, jnp.bool_(True))

  def step(key, state, problem):
    label = problem.example.label
    logits, pull = jax.vjp(problem.logits, state.candidate)
    others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    ranked = jax.lax.top_k(others, state.rivals.size)[1]
    rivals = jnp.where(state.first, ranked, state.rivals)
    one_hot = jax.nn.one_hot(jnp.append(rivals, label), logits.size)
    (grads,) = jax.vmap(pull)(one_hot[:-1] - one_hot[-1])  # [R, ...]
    trial, grads = problem.checked(problem.judge(state.candidate, logits), grads)
    dual = jax.vmap(problem.norm.dual)(grads)
    gap = jnp.abs(logits[rivals] - logits[label])
    distance = jnp.where(dual > 0, gap / jnp.where(dual > 0, dual, 1.0), jnp.inf)
    nearest = jnp.argmin(distance)
    length = jnp.where(dual[nearest] > 0, distance[nearest] + nudge, 0.0)
    total = state.total + length * problem.norm.steepest(grads[nearest])
    candidate = problem.project((1 + overshoot) * total)
    return DeepFoolState(candidate, trial, total, rivals, jnp.bool_(False))

  return Attack(
    init,
    step,
    steps + 1,
    FIRST_SUCCESS,
    backward_passes=classes - 1,
    needs_radius=False,
    targetable=False,
    norms=("l2", "linf"),
  )
