"""Carlini and Wagner's L2 attack: the smallest perturbation, by penalty and search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, unjudged, where


class CarliniWagnerState(NamedTuple):
  trial: Trial
  origin: Array  # [...], arctanh of the clean input
  modifier: Array  # [...], in the same space
  opt: Any
  c: Array
  lower: Array
  upper: Array
  search: Array  # int32 []
  iteration: Array  # int32 [], within the search
  found: Array  # bool [], a success within the search
  checkpoint: Array  # [], objective when `abort_early` last looked


_UNBOUNDED = 1e10  # upper bound of c before the first success


def carlini_wagner(
  *,
  search_steps: int = 9,
  iterations: int = 1000,
  learning_rate: float = 1e-2,
  c: float = 1e-3,
  abort_early: bool = True,
) -> Attack:
  """min |delta|_2^2 + c * max(margin + confidence, 0) over m, with Adam, and over c.

  x + delta = tanh(arctanh(x) + m), scaled to the box. c by binary search: halved
  between its bounds after a search with a success, times 10 until the first. An example
  whose objective fell by less than 0.01% over a tenth of the iterations ends its search
  early (abort_early). The best point over all iterations counts (goal: smallest).
  steps: search_steps * iterations. The threat's norm ranks the trials; give l2.
  Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017,
  sections V and VI.A; constants of the authors' code.
  """
  require(search_steps >= 1, "search_steps", search_steps, "at least 1")
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(learning_rate > 0, "learning_rate", learning_rate, "more than 0")
  require(c > 0, "c", c, "more than 0")
  adam = optax.adam(learning_rate)
  patience = max(iterations // 10, 1)

  def to_delta(problem, origin, modifier):
    half = (problem.box[1] - problem.box[0]) / 2
    # against the squashed origin, not x: exactly 0 where the modifier is
    delta = half * (jnp.tanh(origin + modifier) - jnp.tanh(origin))
    # into a finite radius straight through: the projection has no gradient at 0
    delta += jax.lax.stop_gradient(problem.project(delta) - delta)
    # XLA on CPU would compute tanh again for every use of delta
    return jax.lax.optimization_barrier(delta)

  def init(key, problem):
    zero, number, (low, high) = problem.zero, jnp.float32, problem.box
    # 0.999999: arctanh is finite at the box
    centred = (problem.example.x - (low + high) / 2) / ((high - low) / 2)
    origin = jnp.arctanh(0.999999 * centred)
    bounds = (number(c), number(0), number(_UNBOUNDED))
    counters = (jnp.int32(0), jnp.int32(0), jnp.bool_(False), number(jnp.inf))
    return CarliniWagnerState(
      unjudged(problem), origin, zero, adam.init(zero), *bounds, *counters
    )

  def step(key, state, problem):
    def objective(modifier):
      delta = to_delta(problem, state.origin, modifier)
      logits = problem.logits(delta)
      hinge = jnp.maximum(problem.margin(logits) + problem.objective.confidence, 0.0)
      value = jnp.sum(delta**2) + state.c * hinge
      return value, problem.judge(delta, logits)

    (value, trial), grad = jax.value_and_grad(objective, has_aux=True)(state.modifier)
    trial, grad = problem.checked(trial, grad)
    update, opt = adam.update(grad, state.opt)
    looks = abort_early & (state.iteration % patience == 0)
    stalled = looks & (value > 0.9999 * state.checkpoint)
    moved = state._replace(
      trial=trial,
      modifier=state.modifier + update,
      opt=opt,
      iteration=state.iteration + 1,
      found=state.found | trial.success,
      checkpoint=jnp.where(looks, value, state.checkpoint),
    )
    ended = stalled | (moved.iteration >= iterations)
    return where(ended, next_search(moved), moved)

  def next_search(state):
    upper = jnp.where(state.found, jnp.minimum(state.upper, state.c), state.upper)
    lower = jnp.where(state.found, state.lower, jnp.maximum(state.lower, state.c))
    bounded = upper < _UNBOUNDED
    larger = jnp.where(bounded, (lower + upper) / 2, state.c * 10)
    search = state.search + 1
    # the authors' last search repeats the c that is known to succeed
    repeat = (search_steps >= 10) & (search == search_steps - 1) & bounded
    return state._replace(
      modifier=jnp.zeros_like(state.modifier),
      opt=jax.tree.map(jnp.zeros_like, state.opt),
      c=jnp.where(repeat, upper, larger),
      lower=lower,
      upper=upper,
      search=search,
      iteration=jnp.int32(0),
      found=jnp.bool_(False),
      checkpoint=jnp.float32(jnp.inf),
    )

  return Attack(
    init,
    step,
    search_steps * iterations,
    SMALLEST,
    needs_radius=False,
    norms=("l2",),
    finished=lambda state: state.search >= search_steps,
  )
