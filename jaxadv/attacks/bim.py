"""Basic iterative method, in a given ball or with a search for the smallest ball."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import (
  FIRST_SUCCESS,
  SMALLEST,
  STRONGEST,
  Array,
  Attack,
  Problem,
  Trial,
  unjudged,
  where,
)

_NORMS = ("l1", "l2", "linf")


class BIMState(NamedTuple):
  candidate: Array
  trial: Trial
  search: Any  # Search, or () where there is none


class Search(NamedTuple):
  """Which ball is tried, and what is known of smaller and larger ones."""

  epsilon: Array  # [], radius of this ball
  lower: Array  # [], of the largest ball that is known to fail
  upper: Array  # [], size of the smallest success; inf: none yet
  first: Array  # [...], direction of the first step, the same in every ball
  taken: Array  # int32 [], steps judged in this ball; -1: not even the clean clip
  found: Array  # bool [], a success in this ball
  bisects: Array  # bool [], some ball had a success
  balls: Array  # int32 [], tried before it, or since


def _box_size(problem: Problem) -> Array:
  low, high = problem.bounds
  return problem.norm.size(high - low)


def bim(
  *,
  steps: int = 10,
  step_size: float = 1 / 6,
  unit: str = "radius",
  stop_early: bool = False,
  search_steps: int = 0,
  epsilon: float = 0.3,
) -> Attack:
  """delta <- project(delta - step_size * direction(gradient)), from 0.

  steps: gradient steps in a ball; the clean clip is judged besides, first.
  step_size: in `unit`s, "radius": of the ball; "range": of the box, that is norm.size
    of its width wherever the mask is 1 (in linf the width). 1/6 is Foolbox's: 0.05 at
    an epsilon of 0.3.
  stop_early: at the first success (BIM-a; goal: first success), else all steps (BIM-b;
    goal: strongest).
  search_steps: more than 0: a minimum-norm attack (goal: smallest) that needs no radius
    and stays in one that is given. The first ball has radius `epsilon` in units of the
    box's range; it grows by 1.5 until a success, then bisection between the largest
    failure and the smallest success, each at most search_steps balls (Foolbox: 20).
    Step over radius stays what it was in the first ball.
  Kurakin, Goodfellow and Bengio, Adversarial examples in the physical world, ICLR
  workshop 2017, section 2.2; the search is that of Foolbox 2's
  LinfinityBasicIterativeAttack. In l1 the direction is sparse: norms.Norm.direction.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(step_size > 0, "step_size", step_size, "more than 0")
  require(unit in ("radius", "range"), "unit", unit, "radius or range")
  require(search_steps >= 0, "search_steps", search_steps, "0 (no search) or more")
  require(epsilon > 0, "epsilon", epsilon, "more than 0")
  share = step_size / epsilon if unit == "range" and search_steps else step_size

  def init(key, problem):
    search = ()
    if search_steps:
      radius = jnp.minimum(epsilon * _box_size(problem), problem.radius)
      none, no, infinity = jnp.int32(0), jnp.bool_(False), jnp.float32(jnp.inf)
      bounds = (radius, jnp.float32(0), infinity)
      search = Search(*bounds, problem.zero, none - 1, no, no, none)
    return BIMState(problem.zero, unjudged(problem), search)

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.candidate)
    downhill = -problem.norm.direction(grad)
    if search_steps:
      return search_on(state, problem, trial, downhill)
    length = step_size * (problem.radius if unit == "radius" else _box_size(problem))
    return BIMState(problem.project(state.candidate + length * downhill), trial, ())

  def search_on(state, problem, trial, downhill):
    search, won = state.search, trial.success
    search = search._replace(
      first=jnp.where(search.taken < 0, downhill, search.first),
      taken=search.taken + 1,
      found=search.found | won,
      upper=jnp.where(won, jnp.minimum(search.upper, trial.size), search.upper),
    )
    ended = (search.taken >= steps) | (won & stop_early)
    search = where(ended, next_ball(search, problem), search)
    origin = jnp.where(ended, problem.zero, state.candidate)
    move = share * search.epsilon * jnp.where(ended, search.first, downhill)
    ball = problem._replace(radius=jnp.minimum(search.epsilon, problem.radius))
    return BIMState(ball.project(origin + move), trial, search)

  def next_ball(search, problem):
    lower = jnp.where(search.found, search.lower, search.epsilon)
    # a success on the way to a larger ball's edge may lie inside one that failed
    lower = jnp.where(lower < search.upper, lower, 0.0)
    bisects = jnp.isfinite(search.upper)
    balls = jnp.where(bisects == search.bisects, search.balls + 1, 0)
    whole = search.epsilon >= jnp.minimum(problem.radius, _box_size(problem))
    return search._replace(
      epsilon=jnp.where(bisects, (lower + search.upper) / 2, 1.5 * search.epsilon),
      lower=lower,
      taken=jnp.int32(0),
      found=jnp.bool_(False),
      bisects=bisects,
      balls=jnp.where(whole & ~bisects, search_steps, balls),
    )

  if search_steps:
    return Attack(
      init,
      step,
      1 + 2 * search_steps * steps,
      SMALLEST,
      needs_radius=False,
      norms=_NORMS,
      finished=lambda state: state.search.balls >= search_steps,
    )
  goal = FIRST_SUCCESS if stop_early else STRONGEST
  return Attack(init, step, steps + 1, goal, norms=_NORMS)
