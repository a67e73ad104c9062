"""DDN: descent in the direction alone, on a sphere that shrinks or grows each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, unjudged


class DDNState(NamedTuple):
  candidate: Array
  trial: Trial
  radius: Array  # [], epsilon: of the sphere
  first: Array  # [], how far the boundary is by first order; 0: not known yet
  widest: Array  # [], the largest radius that makes a difference
  taken: Array  # int32 [], steps


def ddn(
  *,
  steps: int = 300,
  init_norm: float = 0.3,
  step_size: float = 1.0,
  last_step_size: float = 0.01,
  gamma: float = 0.05,
  relative: bool = True,
) -> Attack:
  """delta <- epsilon * d / |d|_2, d = delta - alpha g / |g|_2, fitted into the box.

  g: gradient of the loss. epsilon: times 1 - gamma after a success, 1 + gamma after a
  failure. steps: gradient steps; steps + 1 points are judged, the clean clip first.
  init_norm: epsilon at the start. step_size, last_step_size: alpha, on a cosine.
  relative: init_norm is in units of the clean clip's first-order distance, |margin| /
    |its gradient|, so the method works at any scale, and alpha in units of epsilon or,
    beyond twice that distance, of their geometric mean: on a sphere that had to grow,
    as for a far target, steps in proportion to it would lead nowhere. The first step
    goes along the margin's gradient; a start well inside the boundary keeps the choice
    of the rival open. False: both are in the input's own, as in the paper, whose 1 and
    1 are for images in [0, 1].
  Nothing is rounded to 8 bits.
  Rony et al., Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial
  Attacks and Defenses, CVPR 2019, algorithm 1.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(init_norm > 0, "init_norm", init_norm, "more than 0")
  require(step_size > 0, "step_size", step_size, "more than 0")
  require(last_step_size >= 0, "last_step_size", last_step_size, "0 or more")
  require(0 < gamma < 1, "gamma", gamma, "more than 0, less than 1")
  alpha = optax.cosine_decay_schedule(step_size, steps, last_step_size / step_size)

  def init(key, problem):
    low, high = problem.bounds
    size = problem.norm.size(jnp.maximum(-low, high))
    widest = jnp.minimum(size, problem.radius)
    start = (problem.zero, unjudged(problem), jnp.float32(init_norm), jnp.float32(0.0))
    return DDNState(*start, widest, jnp.int32(0))

  def step(key, state, problem):
    measures = relative & (state.first == 0)
    follows = measures | (problem.lead is not None)

    def judge(delta):
      logits = problem.logits(delta)
      trial = problem.judge(delta, logits)
      gap = problem.margin(logits) + problem.objective.confidence
      return jnp.where(follows, gap, trial.loss), (gap, trial)

    (_, (gap, trial)), grad = jax.value_and_grad(judge, has_aux=True)(state.candidate)
    trial, grad = problem.checked(trial, grad)
    size = problem.norm.size(grad)
    distance = jnp.maximum(jnp.abs(gap) / jnp.maximum(size, 1e-30), 1e-30)
    distance = jnp.where(jnp.isfinite(gap), distance, 0.0)
    first = jnp.where(measures, distance, state.first)
    # a tie of the clean clip is 0 away, and 0 does not grow
    start = jnp.maximum(init_norm * first, 1e-8 * state.widest)
    radius = jnp.where(measures, start, state.radius)
    radius *= jnp.where(trial.success, 1 - gamma, 1 + gamma)
    radius = jnp.minimum(radius, state.widest)
    mean = jnp.sqrt(2 * jnp.maximum(first, start)) * jnp.sqrt(radius)
    unit = jnp.minimum(radius, mean) if relative else 1.0
    length = alpha(state.taken) * unit
    direction = state.candidate - grad * (length / jnp.maximum(size, 1e-30))
    scale = radius / jnp.maximum(problem.norm.size(direction), 1e-30)
    candidate = problem.project(scale * direction)
    return DDNState(candidate, trial, radius, first, state.widest, state.taken + 1)

  return Attack(
    init,
    step,
    steps + 1,
    SMALLEST,
    needs_radius=False,
    norms=("l2",),
    descends_margin=True,
  )
