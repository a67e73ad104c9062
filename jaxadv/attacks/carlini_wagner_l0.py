"""Carlini and Wagner's L0 attack: L2 attacks on fewer and fewer coordinates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.carlini_wagner import cosine, look, nearest, travel
from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, unjudged, where
from jaxadv.norms import kth_largest


class Round(NamedTuple):
  """The coordinates of an L2 attack, and its best success."""

  kept: Array  # [...], 1 where this round may write
  modifier: Array  # [...]
  force: Array  # [...], -slope * delta: what each coordinate does, in logits
  slope: Array  # [...], by delta
  gain: Array  # [...], of delta by the modifier
  size: Array  # [], l2; inf: none


class CarliniWagnerL0State(NamedTuple):
  trial: Trial
  modifier: Array  # [...], m
  opt: Any
  rate: Array
  c: Array
  share: Array  # of the coordinates, given up after the next success
  now: Round
  last: Round  # the last that succeeded
  iteration: Array  # int32 [], within this c of the round
  raised: Array  # int32 [], how often c was doubled in it
  done: Array  # bool []


def _least(force: Array, kept: Array, count: Array) -> Array:
  """The `count` kept coordinates of least force (more, if equal), as bool [...]."""
  helpful = jnp.where(kept > 0, jnp.maximum(force, 0.0), jnp.inf)
  most = kth_largest(helpful, force.size - count + 1)
  return (kept > 0) & (helpful <= most)


def carlini_wagner_l0(
  *,
  steps: int = 6000,
  iterations: int = 100,
  learning_rate: float = 0.0,
  schedule: str = "cosine",
  c: float = 0.0,
  doublings: int = 3,
  share: float = 0.3,
) -> Attack:
  """Runs the L2 attack again and again, each time on fewer coordinates.

  A round: min |delta|_2^2 + c * max(margin + confidence, 0) over m of the coordinates
  that are left, with x + delta = tanh(arctanh(x) + m), scaled to the box, `iterations`
  of Adam from the last round's best point; without a success once more with twice the
  c, `doublings` times. Then those with the least g_i * delta_i (g the gradient of the
  margin at the best point, in the direction that helps) are given up, delta_i = 0.
  steps: in all.

  learning_rate, c: 0 takes them from the gradient, anew in each round, as
    `carlini_wagner` does.
  schedule: of the learning rate within a round, "cosine" (to 0) or "constant".
  share: of the coordinates, given up in a round, at least one. After a round without a
    success the last one is taken up again and half the share; the attack ends where one
    coordinate is too many. The paper gives up one at a time, which takes as many rounds
    as a clip has samples; the authors' code a number that grows with those left.
  As published: share=1e-9, learning_rate=1e-2, schedule="constant", c=1e-3,
  doublings=30, iterations=1000, and steps enough.
  Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017,
  section VI.B; constants of the authors' code.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(learning_rate >= 0, "learning_rate", learning_rate, "0 (derived) or more")
  require(schedule in ("cosine", "constant"), "schedule", schedule, "cosine, constant")
  require(c >= 0, "c", c, "0 (derived) or more")
  require(doublings >= 0, "doublings", doublings, "0 or more")
  require(0 < share < 1, "share", share, "more than 0, less than 1")
  adam = optax.scale_by_adam()

  def scales(drop, slope, gain, kept):
    """Learning rate and c of a round in which the margin must fall by `drop`."""
    far, _ = nearest(drop, slope * gain * kept)
    _, weight = nearest(drop, slope * kept)
    rate = jnp.float32(learning_rate) if learning_rate else travel(far, iterations)
    return rate, jnp.float32(c) if c else 4 * weight

  def init(key, problem):
    zero, none, infinity = problem.zero, jnp.float32(0), jnp.float32(jnp.inf)
    begun = Round(problem.example.mask, zero, zero, zero, zero, infinity)
    return CarliniWagnerL0State(
      trial=unjudged(problem),
      modifier=zero,
      opt=adam.init(zero),
      rate=none,
      c=none,
      share=jnp.float32(share),
      now=begun,
      last=begun,
      iteration=jnp.int32(0),
      raised=jnp.int32(0),
      done=jnp.bool_(False),
    )

  def step(key, state, problem):
    mask = state.now.kept
    few = problem._replace(example=problem.example._replace(mask=mask))
    point = look(few, state.modifier)
    trial, delta = point.trial, point.trial.delta
    first = state.rate == 0
    rate, weight = scales(point.hinge, point.slope, point.gain, mask)
    state = state._replace(
      rate=jnp.where(first, rate, state.rate),
      c=jnp.where(first | (state.c == 0), weight, state.c),
    )
    grad = (2 * delta + point.descent(state.c)) * point.gain
    update, opt = adam.update(grad, state.opt)
    decay = cosine(state.iteration, iterations) if schedule == "cosine" else 1.0
    size = jnp.sqrt(jnp.sum(delta**2))
    force = -point.slope * delta
    found = Round(mask, state.modifier, force, point.slope, point.gain, size)
    better = trial.success & (size < state.now.size)
    moved = state._replace(
      trial=trial,
      modifier=state.modifier - state.rate * decay * update,
      opt=opt,
      now=where(better, found, state.now),
      iteration=state.iteration + 1,
    )
    return where(moved.iteration >= iterations, next_round(moved), moved)

  def next_round(state):
    success = jnp.isfinite(state.now.size)
    again = ~success & (state.raised < doublings)
    best = where(success, state.now, state.last)
    left = jnp.sum(best.kept)
    fewer = jnp.where(success, state.share, state.share / 2)
    count = jnp.maximum(jnp.floor(fewer * left), 1.0)
    kept = jnp.where(_least(best.force, best.kept, count), 0.0, best.kept)
    # where the margin is past its valley, none: both come from the next gradient
    drop = jnp.maximum(jnp.sum(best.force), 0.0)
    rate, weight = scales(drop, best.slope, best.gain, kept)
    begun = best._replace(kept=kept, size=jnp.float32(jnp.inf))
    done = ~success & ((state.share * left < 2) | jnp.isinf(best.size))
    shared = state._replace(
      opt=jax.tree.map(jnp.zeros_like, state.opt), iteration=jnp.int32(0)
    )
    larger = shared._replace(c=2 * state.c, raised=state.raised + 1)
    other = shared._replace(
      modifier=best.modifier,
      rate=rate,
      c=weight,
      share=fewer,
      now=begun,
      last=best,
      raised=jnp.int32(0),
      done=done | (jnp.sum(kept) == 0),
    )
    return where(again, larger, other)

  return Attack(
    init,
    step,
    steps,
    SMALLEST,
    needs_radius=False,
    norms=("l0",),
    finished=lambda state: state.done,
  )
