"""Projected gradient descent on the loss, in any norm."""

from typing import NamedTuple

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged


class PGDState(NamedTuple):
  candidate: Array
  trial: Trial


def pgd(
  *, steps: int = 40, step_size: float = 0.0, random_start: bool = True
) -> Attack:
  """delta <- project(delta - step_size * radius * steepest(grad loss)).

  steps: gradient steps; steps + 1 points are judged, the first being the start.
  step_size: as a share of the radius; 0 means 2.5 / steps.
  random_start: uniform in the ball; else at 0.
  Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR
  2018, section 2.1.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(step_size >= 0, "step_size", step_size, "0 (2.5 / steps) or more")
  share = step_size or 2.5 / steps

  def init(key, problem):
    delta = problem.zero
    if random_start:
      delta = problem.norm.sample(key, problem.example.mask) * problem.radius
    return PGDState(problem.fit(delta), unjudged(problem))

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.candidate)
    move = problem.norm.steepest(grad) * (share * problem.radius)
    return PGDState(problem.project(state.candidate - move), trial)

  return Attack(init, step, steps + 1, FIRST_SUCCESS)
