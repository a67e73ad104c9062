"""Auto-PGD: projected gradient descent that sets its own step size."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Problem, Trial, unjudged, where

_MOMENTUM = 0.75  # alpha of the paper


class Dense(NamedTuple):
  """The step size in l2 and linf, and what the next checkpoint looks at."""

  step_size: Array  # [], as a share of the radius
  loss: Array  # [], of the last point
  improved: Array  # int32 [], steps since the last checkpoint that lowered the loss
  checkpoint_loss: Array  # [], the best one at the last checkpoint
  halved: Array  # bool [], at the last checkpoint

  @staticmethod
  def checkpoints(steps: int) -> list[int]:
    """After 22% of the steps; each gap is 3% shorter, down to 6%, all rounded down."""
    first, less, least = (max(percent * steps // 100, 1) for percent in (22, 3, 6))
    points, gap = [first], first
    while points[-1] + (gap := max(gap - less, least)) <= steps:
      points.append(points[-1] + gap)
    return points

  @staticmethod
  def first(mask: Array) -> "Dense":
    low, high = jnp.float32(-jnp.inf), jnp.float32(jnp.inf)
    return Dense(jnp.float32(2), low, jnp.int32(0), high, jnp.bool_(False))

  def adapt(self, run: "Run", loss: Array, gap: Array, rho: float):
    """By conditions 1 and 2. -> Dense, whether to go back to the best point."""
    improved = self.improved + (loss < self.loss)
    stalled = ~self.halved & (run.best_loss >= self.checkpoint_loss)
    halved = (improved <= rho * gap) | stalled
    size = jnp.where(halved, self.step_size / 2, self.step_size)
    checked = Dense(size, loss, jnp.int32(0), run.best_loss, halved)
    unchecked = self._replace(loss=loss, improved=improved)
    return where(gap > 0, checked, unchecked), (gap > 0) & halved

  def move(self, run: "Run", point: Array, grad: Array, problem: Problem) -> Array:
    length = self.step_size * problem.radius
    aim = problem.project(point - length * problem.norm.direction(grad))
    share = jnp.where(run.judged == 0, 1.0, _MOMENTUM)
    return point + share * (aim - point) + (1 - share) * (point - run.previous)


class Sparse(NamedTuple):
  """The step size in l1, and how many coordinates a step changes."""

  step_size: Array  # [], as a share of the radius
  changes: Array  # []
  nonzero: Array  # [], coordinates of the best point at the last checkpoint

  @staticmethod
  def checkpoints(steps: int) -> list[int]:
    return list(range(0, steps + 1, -(-4 * steps // 100)))

  @staticmethod
  def first(mask: Array) -> "Sparse":
    return Sparse(jnp.float32(1), 0.2 * jnp.sum(mask), jnp.sum(mask))

  def adapt(self, run: "Run", loss: Array, gap: Array, rho: float):
    """By the nonzeros of the best point. -> Sparse, whether to go back to it."""
    nonzero = jnp.sum(run.best != 0).astype(jnp.float32)
    sparser = nonzero < 0.95 * self.nonzero
    size = jnp.where(sparser, 1.0, jnp.maximum(self.step_size / 1.5, 0.1))
    checked = Sparse(size, nonzero / 1.5, nonzero)
    return where(gap > 0, checked, self), (gap > 0) & sparser

  def move(self, run: "Run", point: Array, grad: Array, problem: Problem) -> Array:
    assert problem.norm.sparse
    direction = problem.norm.sparse(grad, self.changes)
    return point - self.step_size * problem.radius * direction


class Run(NamedTuple):
  """One descent from one start."""

  candidate: Array
  previous: Array  # the point before it
  best: Array
  best_loss: Array
  best_grad: Array
  judged: Array  # int32 [], points so far
  pace: Dense | Sparse


class Descent(NamedTuple):
  """start: key, Problem -> Run, at random in the ball.
  advance: Run, loss [], gradient [...] of its candidate, Problem -> Run.
  """

  start: Callable[[Array, Problem], Run]
  advance: Callable[[Run, Array, Array, Problem], Run]


def _since_last(checkpoints, steps):
  """Steps since the checkpoint before; 0 where none is. -> int32 [steps + 1]."""
  gaps = np.zeros(steps + 1, np.int32)
  at = [0, *sorted(set(checkpoints) - {0})]
  gaps[at[1:]] = np.diff(at)
  return gaps


def descent(steps: int, rho: float = 0.75) -> Descent:
  """Runs of `steps` steps, steps + 1 points, as `apgd` explains."""
  require(steps >= 1, "steps", steps, "at least 1")
  require(0 <= rho <= 1, "rho", rho, "0 to 1")
  gaps = {kind: _since_last(kind.checkpoints(steps), steps) for kind in (Dense, Sparse)}

  def start(key, problem):
    mask = problem.example.mask
    point = problem.fit(problem.norm.sample(key, mask) * problem.radius)
    pace = (Sparse if problem.norm.sparse else Dense).first(mask)
    best = (point, jnp.float32(jnp.inf), problem.zero)
    return Run(point, point, *best, jnp.int32(0), pace)

  def advance(run, loss, grad, problem):
    best = (run.best, run.best_loss, run.best_grad)
    best = where(loss < run.best_loss, (run.candidate, loss, grad), best)
    run = run._replace(best=best[0], best_loss=best[1], best_grad=best[2])
    gap = jnp.asarray(gaps[type(run.pace)])[run.judged]
    pace, back = run.pace.adapt(run, loss, gap, rho)
    here = (run.candidate, grad)
    point, grad = where(back, (run.best, run.best_grad), here)
    return run._replace(
      candidate=problem.project(pace.move(run, point, grad, problem)),
      previous=point,
      judged=run.judged + 1,
      pace=pace,
    )

  return Descent(start, advance)


class APGDState(NamedTuple):
  trial: Trial
  run: Run


def apgd(*, steps: int = 100, restarts: int = 1, rho: float = 0.75) -> Attack:
  """Auto-PGD: z = P(x - eta * direction(g)), x <- P(x + 0.75 (z - x) + 0.25 (x - x')).

  x' is the point before x, P the projection, eta 2 radii at first. At the checkpoints,
  which come ever closer, eta is halved and x goes back to the best point so far where
  no more than `rho` of the steps since the last one lowered the loss (condition 1), or
  where neither eta nor the best loss changed since (condition 2). The checkpoints, and
  "no more" where the paper has "fewer", are the authors' code's, which is stronger.
  In l1 without momentum: x <- P(x - eta * equal parts of the k coordinates with the
  largest gradients), eta 1 radius and k a fifth of the coordinates at first. Every 4%
  of the steps k is set to the best point's nonzero coordinates / 1.5; if those fell
  below 95% of what they were, eta is reset and x goes back to the best point, else eta
  falls by 1.5, down to a tenth.
  steps: gradient steps; steps + 1 points are judged in each run, the first being its
  random start in the ball. restarts: runs, one after the other.
  Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
  diverse parameter-free attacks, ICML 2020, section 3, algorithm 1 (l2, linf); Croce
  and Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers,
  ICML 2021, section 3 (l1).
  """
  require(restarts >= 1, "restarts", restarts, "at least 1")
  descend = descent(steps, rho)

  def init(key, problem):
    return APGDState(unjudged(problem), descend.start(key, problem))

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.run.candidate)
    run = descend.advance(state.run, trial.loss, grad, problem)
    if restarts > 1:  # a random number for every sample is not free
      run = where(run.judged > steps, descend.start(key, problem), run)
    return APGDState(trial, run)

  norms = ("l1", "l2", "linf")
  return Attack(init, step, restarts * (steps + 1), FIRST_SUCCESS, norms=norms)
