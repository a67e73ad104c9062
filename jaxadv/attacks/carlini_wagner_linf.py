"""Carlini and Wagner's Linf attack: a penalty beyond a bound that shrinks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.carlini_wagner import FASTEST, cosine, look, travel
from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, unjudged, where

_ATTEMPTS = 6  # to find the first success in, or more; measured (BUILD.md)


class CarliniWagnerLinfState(NamedTuple):
  trial: Trial
  modifier: Array  # [...], m
  opt: Any
  first_rate: Array
  rate: Array
  first_c: Array
  c: Array
  tau: Array  # inf: before the first success
  factor: Array  # what tau shrinks by
  best_size: Array
  best_modifier: Array  # [...]
  iteration: Array  # int32 [], with these c and tau
  refined: Array  # int32 [], how often a tau was given up
  raised: Array  # int32 [], how often c was doubled for this tau


def carlini_wagner_linf(
  *,
  steps: int = 3000,
  iterations: int = 200,
  learning_rate: float = 0.0,
  schedule: str = "cosine",
  c: float = 0.0,
  doublings: int = 0,
  decrease: float = 0.9,
  refinements: int = 4,
) -> Attack:
  """min sum_i max(|delta_i| - tau, 0) + c * max(margin + confidence, 0), tau shrinking.

  Over m with x + delta = tanh(arctanh(x) + m), scaled to the box, by Adam. As soon as a
  point succeeds with every |delta_i| <= tau, tau becomes decrease * max |delta_i| and
  the next minimisation begins there. One that did not within `iterations` is repeated
  with twice the c, `doublings` times; then that tau is given up. steps: in all.

  learning_rate, c: 0 takes them from the gradient: Adam could go 4 times as far as a
    linear victim's boundary is; c times the mean |gradient| is 1/2. With a rate of 0,
    as long as nothing succeeded a minimisation takes no more than a sixth of the steps,
    and the next one goes on where it ended, at twice the rate and with c from the
    gradient there: a slow one ends at a nearer point, but not everywhere at a success.
  schedule: of the learning rate within a minimisation, "cosine" (to 0) or "constant".
  refinements: how often, when a tau is given up, the attack goes back to its best point
    and goes on with the root of `decrease`.
  As published: learning_rate=5e-3, schedule="constant", c=1e-5, doublings=20,
  refinements=0, iterations=1000, and steps enough.
  Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017,
  section VI.C; constants of the authors' code.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(learning_rate >= 0, "learning_rate", learning_rate, "0 (derived) or more")
  require(schedule in ("cosine", "constant"), "schedule", schedule, "cosine, constant")
  require(c >= 0, "c", c, "0 (derived) or more")
  require(doublings >= 0, "doublings", doublings, "0 or more")
  require(0 < decrease < 1, "decrease", decrease, "more than 0, less than 1")
  require(refinements >= 0, "refinements", refinements, "0 or more")
  adam = optax.scale_by_adam()
  attempt = iterations if learning_rate else min(iterations, -(-steps // _ATTEMPTS))

  def init(key, problem):
    zero, none, infinity = problem.zero, jnp.int32(0), jnp.float32(jnp.inf)
    return CarliniWagnerLinfState(
      trial=unjudged(problem),
      modifier=zero,
      opt=adam.init(zero),
      first_rate=jnp.float32(learning_rate),
      rate=jnp.float32(learning_rate),
      first_c=jnp.float32(c),
      c=jnp.float32(c),
      tau=infinity,
      factor=jnp.float32(decrease),
      best_size=infinity,
      best_modifier=zero,
      iteration=none,
      refined=none,
      raised=none,
    )

  def step(key, state, problem):
    point = look(problem, state.modifier)
    trial, delta = point.trial, point.trial.delta
    first = jnp.isinf(state.tau) & (state.iteration == 0) & (state.raised == 0)
    if not learning_rate:
      total = jnp.sum(jnp.abs(point.slope * point.gain))
      far = jnp.nan_to_num(
        point.hinge / jnp.where(total > 0, total, jnp.inf), posinf=1.0
      )
      slowest = jnp.where(state.rate > 0, state.first_rate, travel(far, iterations))
      faster = jnp.minimum(2 * state.rate, FASTEST)
      rate = jnp.where(first, jnp.maximum(slowest, faster), state.rate)
      state = state._replace(first_rate=slowest, rate=rate)
    if not c:
      slope = jnp.abs(point.slope) * problem.example.mask
      mean = jnp.sum(slope) / jnp.maximum(jnp.sum(problem.example.mask), 1)
      weight = jnp.where(first, 0.5 / jnp.maximum(mean, 1e-30), state.first_c)
      state = state._replace(c=jnp.where(first, weight, state.c), first_c=weight)
    beyond = jnp.where(jnp.abs(delta) > state.tau, jnp.sign(delta), 0.0)
    grad = (beyond + point.descent(state.c)) * point.gain
    update, opt = adam.update(grad, state.opt)
    decay = cosine(state.iteration, iterations) if schedule == "cosine" else 1.0
    size = jnp.max(jnp.abs(delta))
    better = trial.success & (size < state.best_size)
    moved = state._replace(
      trial=trial,
      modifier=state.modifier - state.rate * decay * update,
      opt=opt,
      iteration=state.iteration + 1,
      best_size=jnp.where(better, size, state.best_size),
      best_modifier=jnp.where(better, state.modifier, state.best_modifier),
    )
    solved = trial.success & (size <= state.tau)
    allowed = jnp.where(jnp.isinf(state.tau), attempt, iterations)
    failed = ~solved & (moved.iteration >= allowed)
    moved = where(solved, shrink(moved), moved)
    return where(failed, retry(moved), moved)

  def again(state):
    return state._replace(
      opt=jax.tree.map(jnp.zeros_like, state.opt), iteration=jnp.int32(0)
    )

  def shrink(state):
    tau = state.best_size * state.factor
    first = {"rate": state.first_rate, "c": state.first_c}
    return again(state)._replace(tau=tau, raised=jnp.int32(0), **first)

  def retry(state):
    larger = again(state)._replace(c=2 * state.c, raised=state.raised + 1)
    finer = state._replace(factor=jnp.sqrt(state.factor), refined=state.refined + 1)
    finer = shrink(finer)._replace(modifier=state.best_modifier, c=state.first_c)
    anew = again(state)._replace(raised=jnp.int32(0), c=state.first_c)
    finer = where(jnp.isinf(state.tau) & (learning_rate == 0), anew, finer)
    return where(state.raised < doublings, larger, finer)

  return Attack(
    init,
    step,
    steps,
    SMALLEST,
    needs_radius=False,
    norms=("linf",),
    finished=lambda state: state.refined > refinements,
    descends_margin=True,
  )
