"""Fast minimum-norm attack: descent in a ball that closes in on the boundary."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Problem, Trial, unjudged
from jaxadv.losses import margin
from jaxadv.norms import L0, L1, L2, LINF, Norm

_LEAST = 0.1  # of the target's distance: the nearest class may be a tie
_PAPERS_GAMMA = 0.05


class _Pace(NamedTuple):
  """What is best in one norm, measured (BUILD.md)."""

  gamma: float = 0.7
  untargeted: float = 1.0  # times as long a step
  power: float = 1.0  # of the gradient, at first
  momentum: float = 0.0
  growth: float = math.inf  # of log(epsilon) in as many steps, until the first success


_PACES: dict[Norm, _Pace] = {
  L0: _Pace(gamma=_PAPERS_GAMMA),
  L1: _Pace(untargeted=6.0),
  L2: _Pace(power=0.5, growth=10.0),
  LINF: _Pace(power=0.5, momentum=0.75, growth=10.0),
}


def _pace(norm: Norm) -> _Pace:
  """Of a norm that is none of these, a lifted one: what they share."""
  return _PACES.get(norm, _Pace())


class FMNState(NamedTuple):
  candidate: Array
  direction: Array  # [...], the mean that steps follow
  trial: Trial
  radius: Array  # [], epsilon: of the ball that holds the candidate
  smallest: Array  # [], size of the smallest success; inf: none
  scale: Array  # [], of the clean clip's distances by first order; 0: not known yet
  widest: Array  # [], the largest radius that makes a difference
  taken: Array  # int32 [], steps


def _nearest(problem: Problem, logits: Array, gap: Array) -> Array:
  """How far the logits are from another answer, the target or not; at most `gap`."""
  one_label = not problem.example.label.ndim and logits.shape[-1] > 1
  if problem.lead is not None or not one_label:
    return gap
  lead = margin(logits, jnp.argmax(logits)) + problem.objective.confidence
  return jnp.minimum(gap, lead)


def _to_power(grad: Array, exponent: Array) -> Array:
  """sign(g) |g|^exponent, of l2 size 1; 0 stays 0. [...], [] -> [...]"""
  magnitude = jnp.abs(grad)
  share = magnitude / jnp.maximum(jnp.max(magnitude), 1e-30)
  return L2.direction(jnp.sign(grad) * share**exponent)


def fmn(
  *,
  steps: int = 300,
  step_size: float = 1.25,
  last_step_size: float = 0.01,
  relative: bool = True,
  gamma: float = 0.0,
  last_gamma: float = 1e-4,
) -> Attack:
  """delta <- project(delta - alpha d / |d|_2) into a ball of radius epsilon.

  d: the gradient g of f = margin + confidence. epsilon: size(delta) + f / dual(g),
  where the boundary is by first order, until the first success; then times 1 - gamma
  after a success, and never more than the smallest one, times 1 + gamma after a
  failure. In l0 it moves by at least 1, and inwards by the first gamma to the end:
  small steps leave samples that are not needed.
  steps: gradient steps; steps + 1 points are judged, the clean clip first.
  step_size, last_step_size: alpha, on a cosine; gamma, last_gamma: likewise.
  relative: alpha is in units of `Norm.stride` of the geometric mean of the clean clip's
    distances, by first order, to success and to any other class, so the method works at
    any scale of input and victim; in six times these, untargeted in l1. (In proportion
    to epsilon, larger steps and larger balls would call for each other; the target's
    distance alone makes them too long where it is far, the other's too short.) False:
    in the input's own, as in the paper.
  gamma: 0 stands for 0.05 in l0, as in the paper, and 0.7 in the other norms: a ball
    that swings widely at first leads to nearer points.
  From the paper's it differs in three more ways. In l2 and linf d is sign(g) |g|^p, of
  size 1, where p goes from 0.5 to 1: at first small gradients count for more than they
  are worth, as they differ from one point to the next, in the end as much; in linf d is
  the mean of these so far, each with 0.75 of the next one's weight. epsilon grows
  before the first success too, by gamma but no more than 0.05: f / dual(g) vanishes on
  the boundary, where some clips would stay for good; in l2 and linf it grows by no more
  than e^(10 / steps) a step then, or 0.05: where g is small, f / dual(g) says little,
  and in too wide a ball far targets are missed. And after a success it goes back
  to the boundary by first order, by no more than the first gamma: late, when steps and
  gamma are small, a ball may still be too wide.
  Pintor et al., Fast Minimum-norm Adversarial Attacks through Adaptive Norm
  Constraints, NeurIPS 2021, algorithm 1.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(step_size > 0, "step_size", step_size, "more than 0")
  require(last_step_size >= 0, "last_step_size", last_step_size, "0 or more")
  require(0 <= gamma < 1, "gamma", gamma, "a number in [0, 1), 0: the norm's own")
  require(0 <= last_gamma < 1, "last_gamma", last_gamma, "0 or more, less than 1")
  alpha = optax.cosine_decay_schedule(step_size, steps, last_step_size / step_size)

  def init(key, problem):
    low, high = problem.bounds
    size = problem.norm.size(jnp.maximum(-low, high))
    widest = jnp.minimum(size, problem.radius)
    none = (jnp.float32(0.0), jnp.float32(jnp.inf), jnp.float32(0.0))
    start = (problem.zero, problem.zero, unjudged(problem))
    return FMNState(*start, *none, widest, jnp.int32(0))

  def resize(problem, state, trial, boundary, smallest, answered):
    """The next radius, where the boundary is so far from the clip by first order; a
    little less than the last where the victim said no number."""
    quantum, pace = problem.norm.quantum, _pace(problem.norm)
    first = gamma or pace.gamma
    share = optax.cosine_decay_schedule(first, steps, last_gamma / first)(state.taken)
    least = state.radius * (1 - first)
    most = least if quantum else state.radius * (1 - share)
    smaller = jnp.minimum(jnp.clip(boundary, least, most), state.radius - quantum)
    little = jnp.minimum(share, _PAPERS_GAMMA)
    slowly = state.radius * (1 + little)
    farthest = state.radius * math.exp(min(pace.growth / steps, 80))  # no overflow
    ahead = jnp.where(state.radius > 0, jnp.minimum(boundary, farthest), boundary)
    larger = jnp.where(
      jnp.isinf(smallest), jnp.maximum(slowly, ahead), state.radius * (1 + share)
    )
    larger = jnp.maximum(larger, state.radius + quantum)
    radius = jnp.where(trial.success, jnp.minimum(smaller, smallest), larger)
    radius = jnp.where(answered, radius, state.radius * (1 - little))
    return jnp.clip(radius, 0.0, state.widest)

  def mean(problem, state, grad):
    """What the next step follows, of no particular size."""
    pace = _pace(problem.norm)
    if pace.power == 1:
      return grad
    exponent = pace.power + (1 - pace.power) * state.taken / steps
    newest = (1 - pace.momentum) * _to_power(grad, exponent)
    return pace.momentum * state.direction + newest

  def step(key, state, problem):
    def judge(delta):
      logits = problem.logits(delta)
      gap = problem.margin(logits) + problem.objective.confidence
      return gap, (problem.judge(delta, logits), _nearest(problem, logits, gap))

    (gap, (trial, nearest)), grad = jax.value_and_grad(judge, has_aux=True)(
      state.candidate
    )
    trial, grad = problem.checked(trial, grad)
    answered = jnp.isfinite(gap)
    gap, nearest = jnp.where(answered, jnp.stack([gap, nearest]), 0.0)
    low, high = problem.bounds
    slope = jnp.maximum(problem.norm.dual(-grad, low, high), 1e-30)
    distance = jnp.clip(gap / slope, -state.widest, state.widest)
    # a tie of the clean clip is 0 away, and 0 does not grow
    ahead = jnp.maximum(distance, 1e-8 * state.widest)
    boundary = trial.size + jnp.where(trial.success, distance, ahead)
    smallest = jnp.where(trial.success, trial.size, jnp.inf)
    smallest = jnp.minimum(state.smallest, smallest)
    radius = resize(problem, state, trial, boundary, smallest, answered)
    nearest = jnp.clip(nearest / slope, _LEAST * ahead, ahead)
    longer = 1.0 if problem.objective.targeted else _pace(problem.norm).untargeted
    first = jnp.where(answered, longer * jnp.sqrt(nearest * ahead), 0.0)
    scale = jnp.where(state.scale == 0, first, state.scale)
    unit = problem.norm.stride(scale, low, high) if relative else 1.0
    direction = mean(problem, state, grad)
    length = alpha(state.taken) * unit / jnp.maximum(L2.size(direction), 1e-30)
    ball = problem._replace(radius=radius)
    candidate = ball.project(state.candidate - length * direction)
    moved = (candidate, direction, trial, radius, smallest, scale, state.widest)
    return FMNState(*moved, state.taken + 1)

  return Attack(
    init, step, steps + 1, SMALLEST, needs_radius=False, descends_margin=True
  )
