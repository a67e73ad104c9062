"""Projected gradient descent on the loss, in any norm, plain, with momentum or Adam."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged

# radius of the random start's ball, as a share of the radius: in l1, and elsewhere
_START_L1, _START = 0.2, 0.5


class PGDState(NamedTuple):
  candidate: Array
  trial: Trial
  opt: Any  # of the optax transformation


def _per(size):
  """Gradients divided by `size` of their magnitudes; 0 stays 0."""

  def update(updates, state, params=None):
    whole = size(jnp.abs(updates))
    return updates / jnp.where(whole > 0, whole, 1.0), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def pgd(
  *,
  steps: int = 40,
  step_size: float = 0.0,
  random_start: bool = True,
  optimizer: str = "plain",
  decay: float = 1.0,
) -> Attack:
  """delta <- project(delta - step_size * radius * direction(g)), g from the gradient.

  steps: gradient steps; steps + 1 points are judged, the first being the start.
  step_size: as a share of the radius; 0 means 2.5 / steps, with Adam 1: its steps
    shrink by themselves, and small ones lost up to half of the clips (BUILD.md).
  random_start: at `Problem.random_start`, of half the radius, in l1 of a fifth; else at
    0. In so many dimensions a ball is next to all surface, and what begins there ends
    with a higher loss (BUILD.md, "Where descents begin").
  optimizer: "plain": g is the gradient. "momentum": g <- decay * g + grad / |grad|_1
    (Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018, eq. 6).
    "adam": Adam's update, of gradients divided by their largest entry, in place of the
    direction, at the size that its signs would have (Uesato et al., Adversarial Risk
    and the Dangers of Evaluating Against Weak Attacks, ICML 2018).
  Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR
  2018, section 2.1. In l1 the direction is sparse: norms.Norm.direction.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(step_size >= 0, "step_size", step_size, "0 (the default) or more")
  require(0 <= decay <= 1, "decay", decay, "a number in [0, 1]")
  transforms = {
    "plain": optax.identity(),
    "momentum": optax.chain(_per(jnp.sum), optax.trace(decay)),
    # of a victim that is sure, a gradient may be 1e-20: far below any eps of Adam's
    "adam": optax.chain(_per(jnp.max), optax.scale_by_adam(eps=1e-12)),
  }
  require(
    optimizer in transforms, "optimizer", optimizer, f"one of {', '.join(transforms)}"
  )
  transform = transforms[optimizer]
  share = step_size or (1.0 if optimizer == "adam" else 2.5 / steps)

  def init(key, problem):
    start = problem.zero
    if random_start:
      share = _START_L1 if problem.norm.sparse else _START
      start = share * problem.random_start(key)
    return PGDState(start, unjudged(problem), transform.init(start))

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.candidate)
    update, opt = transform.update(grad, state.opt)
    if optimizer == "adam":
      corner = problem.norm.size(jnp.sign(update))
      direction = update / jnp.maximum(corner, 1e-30)
    else:
      direction = problem.norm.direction(update)
    move = direction * (share * problem.radius)
    return PGDState(problem.project(state.candidate - move), trial, opt)

  return Attack(init, step, steps + 1, FIRST_SUCCESS, norms=("l1", "l2", "linf"))
