"""One example to its end: random keys, best so far, stopping."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from jaxadv.core import Attack, Bind, Example, Goal, Trial, unjudged, where
from jaxadv.inputs import check_answers, check_examples

Array = jax.Array


class Watch(NamedTuple):
  """What went on in an example's steps: for the guards against wrong results."""

  first_success: Any  # int32 [], the step that first judged a success; 0: none
  nan_steps: Any  # int32 [], with a loss or a gradient that was not finite
  zero_gradients: Any  # int32 [], steps whose gradient was 0 everywhere
  late_loss: Any  # [], the best trial's, when 90% of the steps had been taken

  def after(self, steps: int, before: "Watch") -> "Watch":
    """Of an attack that went on after `steps` of another. The late loss is its own."""
    own = steps + self.first_success if self.first_success else 0
    return Watch(
      before.first_success or own,
      before.nan_steps + self.nan_steps,
      before.zero_gradients + self.zero_gradients,
      self.late_loss,
    )


def _watch(watch, best, trial, step, steps):
  nan = jnp.isnan(trial.grad_size) | jnp.isnan(trial.loss)
  first = jnp.where(trial.success & (watch.first_success == 0), step, 0)
  late = step == max(1, round(0.9 * steps))
  return Watch(
    watch.first_success + first,
    watch.nan_steps + nan,
    watch.zero_gradients + (trial.grad_size == 0),
    jnp.where(late, best.loss, watch.late_loss),
  )


class Lane(NamedTuple):
  """An example on its way."""

  step: Array  # int32 [], steps taken = forward passes
  state: Any  # the attack's
  best: Trial
  done: Array  # bool []
  watch: Watch


class Driver(NamedTuple):
  """start: params, key, example -> Lane; costs no forward pass.
  advance: params, key, lane, example -> Lane; costs one. A lane that is done stays as
    it is, but for the attack's state.
  attack, bind: what it was made of.
  """

  start: Callable[..., Lane]
  advance: Callable[..., Lane]
  attack: Attack
  bind: Bind


def driver(attack: Attack, bind: Bind, goal: Goal | None = None) -> Driver:
  """Drives `attack` by `goal` (its own where None).

  Keys are folded from (example id, step), so a result depends on neither lane, batch
  nor restart.
  """
  better, enough = goal or attack.goal

  def keys(key, example, step):
    key = jax.random.fold_in(jax.random.fold_in(key, example.id), step)
    return jax.random.split(key)

  def start(params, key, example):
    k_attack, k_problem = keys(key, example, 0)
    problem = bind(params, k_problem, example)
    state = attack.init(k_attack, problem)
    none = jnp.int32(0)
    watch = Watch(none, none, none, jnp.float32(jnp.inf))
    return Lane(none, state, unjudged(problem), example.id < 0, watch)

  def advance(params, key, lane, example):
    k_attack, k_problem = keys(key, example, lane.step + 1)
    problem = bind(params, k_problem, example)
    state = attack.step(k_attack, lane.state, problem)
    best = where(better(state.trial, lane.best), state.trial, lane.best)
    step = lane.step + 1
    done = enough(best) | attack.finished(state) | (step >= attack.steps)
    watch = _watch(lane.watch, best, state.trial, step, attack.steps)
    # of a lane that is done nobody reads the state: to keep it would cost as much as a
    # tenth of the step, and with L-BFGS's memory a gradient
    kept = where(lane.done, lane._replace(state=()), Lane(step, (), best, done, watch))
    return kept._replace(state=state)

  return Driver(start, advance, attack, bind)


def solve(driver: Driver, params: Any, key: Array, example: Example) -> Lane:
  """One example to its end, as a pure loop, to be jitted and vmapped at will.

  The engine's oracle. On CPU a victim with plain convolutions runs several times faster
  in `engine.run`, whose steps are straight-line code.
  """
  return jax.lax.while_loop(
    lambda lane: ~lane.done,
    lambda lane: driver.advance(params, key, lane, example),
    driver.start(params, key, example),
  )


def solve_batch(driver: Driver) -> Callable[..., Lane]:
  """Jitted: params, key, Examples [B, ...] (`core.examples`) -> Lane [B, ...].

  InputError for bad input, and for a victim that returns NaN, one sentence each; not
  where it is traced itself (inside jit, vmap, grad), as values are not known there.
  """
  every = jax.jit(jax.vmap(functools.partial(solve, driver), (None, None, 0)))

  def solved(params: Any, key: Array, examples: Example) -> Lane:
    given = jax.tree.leaves((params, key, examples))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in given):
      return every(params, key, examples)
    check_examples(driver.bind, params, key, examples, driver.attack)
    lanes = every(params, key, examples)
    check_answers(examples, lanes.best.loss, lanes.step)
    return lanes

  return solved
