"""One example to its end: random keys, best so far, stopping."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.core import Attack, Bind, Example, Goal, Trial, unjudged, where

Array = jax.Array


class Lane(NamedTuple):
  """An example on its way."""

  step: Array  # int32 [], steps taken = forward passes
  state: Any  # the attack's
  best: Trial
  done: Array  # bool []


class Driver(NamedTuple):
  """start: params, key, example -> Lane; costs no forward pass.
  advance: params, key, lane, example -> Lane; costs one, a lane that is done stays.
  """

  start: Callable[..., Lane]
  advance: Callable[..., Lane]


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
    return Lane(jnp.int32(0), state, unjudged(problem), example.id < 0)

  def advance(params, key, lane, example):
    k_attack, k_problem = keys(key, example, lane.step + 1)
    problem = bind(params, k_problem, example)
    state = attack.step(k_attack, lane.state, problem)
    best = where(better(state.trial, lane.best), state.trial, lane.best)
    step = lane.step + 1
    done = enough(best) | attack.finished(state) | (step >= attack.steps)
    return where(lane.done, lane, Lane(step, state, best, done))

  return Driver(start, advance)


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
  """Jitted: params, key, Examples [B, ...] (`core.examples`) -> Lane [B, ...]."""
  return jax.jit(jax.vmap(functools.partial(solve, driver), (None, None, 0)))
