"""DeepFool: to the nearest decision boundary of the linearised victim, repeatedly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, tie_break, unjudged


class DeepFoolState(NamedTuple):
  candidate: Array
  trial: Trial
  total: Array  # sum of the steps, without overshoot; canonical: within the box
  rivals: Array  # int32 [R], the classes that come into question
  first: Array  # bool []


class _Defaults(NamedTuple):
  steps: int
  classes: int
  nudge: float


_VARIANTS = {
  "canonical": _Defaults(50, 10, 1e-2),
  "subramanian": _Defaults(200, 41, 1e-5),
}


def deepfool(
  *,
  variant: str = "canonical",
  steps: int = -1,
  classes: int = 0,
  overshoot: float = 0.02,
  nudge: float = 0.0,
) -> Attack:
  """Minimum-norm attack: from the label's class to the nearest other, or to the target.

  With f_k = logits_k - logits_label and w_k its gradient, the rival k with the smallest
  d = |f_k| / dual(w_k) gives the step (d + nudge * max(size(steps so far), d / 100)) *
  steepest(w_k); what is judged is x + (1 + overshoot) * sum of steps, the sum and it
  within the box. (The authors add 1e-4 whatever the size, which is more than the whole
  distance of some clips.) Rivals:
  the `classes` - 1 largest other logits of the clean clip. Targeted: the target is the
  only rival, the largest other class of the moment stands for the label. That is exact
  for two classes; with more the path follows one boundary at a time.
  classes: the label's and those of its rivals; 3 of 14 ended as near, at a sixth of the
    gradients (BUILD.md).
  steps: at most so many steps; steps + 1 points are judged, the clean clip first.
  variant: "canonical", or "subramanian": the rival with the LARGEST (|f_k| + nudge) /
    dual(w_k), never class 0 unless it is the target.
  -1 for steps, 0 for classes and nudge: 50, 10, 1e-2; in "subramanian" 200, 41, 1e-5.
  l1 is left out: a step moves one coordinate, and no further once that meets the box.
  Moosavi-Dezfooli et al., DeepFool, CVPR 2016, algorithm 2 (l2), section 3.3 (lp).
  Subramanian et al., Adversarial attacks in sound event classification, 2019, as their
  code has it; theirs averages over the chunks of a clip, this takes the clip's logits.
  """
  require(variant in _VARIANTS, "variant", variant, f"one of {', '.join(_VARIANTS)}")
  expected = "at least 1, or -1 (the variant's own)"
  require(steps == -1 or steps >= 1, "steps", steps, expected)
  require(classes == 0 or classes >= 2, "classes", classes, "0 or at least 2")
  require(overshoot >= 0, "overshoot", overshoot, "0 or more")
  require(nudge >= 0, "nudge", nudge, "0 (the variant's own) or more")
  farthest, defaults = variant == "subramanian", _VARIANTS[variant]
  steps = defaults.steps if steps == -1 else steps
  classes, nudge = classes or defaults.classes, nudge or defaults.nudge

  def init(key, problem):
    count = jax.eval_shape(problem.logits, problem.zero).shape[0]
    tried = 1 if problem.objective.targeted else min(classes, count) - 1
    start = (problem.zero, unjudged(problem), problem.zero)
    return DeepFoolState(*start, jnp.zeros(tried, jnp.int32), jnp.bool_(True))

  def opponents(state, problem, logits):
    """The classes to go to [R], and the one to leave []."""

    def ranked(label, count):
      others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
      return jax.lax.top_k(others, count)[1]

    label, target = problem.example.label, problem.example.target
    if problem.objective.targeted:
      return target[None], ranked(target, 1)[0]
    first = ranked(label, state.rivals.size)
    return jnp.where(state.first, first, state.rivals), label

  def choose(problem, rivals, gap, dual):
    """Which rival, and how far its boundary is."""
    divisor = jnp.where(dual > 0, dual, 1.0)
    if not farthest:
      at = jnp.argmin(jnp.where(dual > 0, gap / divisor, jnp.inf))
      return at, gap[at] / divisor[at]
    allowed = (rivals != 0) | problem.objective.targeted
    distance = (gap + nudge) / divisor
    at = jnp.argmax(jnp.where((dual > 0) & allowed, distance, -jnp.inf))
    return at, jnp.where(allowed[at], distance[at], 0.0)

  def step(key, state, problem):
    logits, pull = jax.vjp(problem.logits, state.candidate)
    rivals, leave = opponents(state, problem, logits)
    one_hot = jax.nn.one_hot(jnp.append(rivals, leave), logits.size)
    (grads,) = jax.vmap(pull)(one_hot[:-1] - one_hot[-1])  # [R, ...]
    # a dual is 0, or not finite, where its gradient is
    dual = jax.vmap(problem.norm.dual)(grads)
    trial, dual = problem.checked(problem.judge(state.candidate, logits), dual)
    gap = jnp.abs(logits[leave] - logits[rivals] + problem.objective.confidence)
    # a tie is not won, and a step of 0 would leave it as it is
    gap = jnp.where(gap == 0, tie_break(logits), gap)
    at, distance = choose(problem, rivals, gap, dual)
    if not farthest:
      # steps only come near a curved boundary; a flat one is met by the first
      distance += nudge * jnp.maximum(problem.norm.size(state.total), distance / 100)
    move = distance * problem.norm.steepest(grads[at])
    total = state.total + jnp.where(dual[at] > 0, move, 0.0)
    if not farthest:
      total = jnp.clip(total, *problem.bounds)  # or later ones would start outside
    candidate = problem.project((1 + overshoot) * total)
    first = state.first & jnp.isnan(logits).any()  # which would rank no rivals
    return DeepFoolState(candidate, trial, total, rivals, first)

  return Attack(
    init,
    step,
    steps + 1,
    FIRST_SUCCESS,
    backward_passes=classes - 1,
    per_rival=True,
    needs_radius=False,
    norms=("l2", "linf"),
    label_sets=False,
  )
