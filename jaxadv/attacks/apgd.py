"""Auto-PGD: projected gradient descent that sets its own step size."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Problem, Trial, unjudged, where

_MOMENTUM = 0.75  # alpha of the paper
_COUNTS = 0.003  # of the largest coordinate: smaller ones are no nonzeros
# of a run that shrinks: radii of its stretches, and percent of the steps
_SHRINKING = ((3.0, 30), (2.0, 30), (1.0, 40))


class Dense(NamedTuple):
  """The step size in l2 and linf, and what the next checkpoint looks at."""

  step_size: Array  # [], as a share of the radius
  loss: Array  # [], of the last point
  improved: Array  # int32 [], steps since the last checkpoint that lowered the loss
  halved: Array  # bool [], at the last checkpoint, or none was yet

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
    return Dense(jnp.float32(2), jnp.float32(-jnp.inf), jnp.int32(0), jnp.bool_(True))

  @staticmethod
  def onward(point: Array) -> "Dense":
    """Of a run that begins where another one ended."""
    return Dense.first(point)

  def adapt(self, run: "Run", loss: Array, gap: Array, rho: float):
    """By condition 1, or in turn. -> Dense, whether to go back to the best point."""
    improved = self.improved + (loss < self.loss)
    halved = (improved <= rho * gap) | ~self.halved
    size = jnp.where(halved, self.step_size / 2, self.step_size)
    checked = Dense(size, loss, jnp.int32(0), halved)
    unchecked = self._replace(loss=loss, improved=improved)
    return where(gap > 0, checked, unchecked), (gap > 0) & halved

  def move(self, run: "Run", point: Array, grad: Array, problem: Problem) -> Array:
    length = self.step_size * problem.radius
    aim = problem.project(point - length * problem.norm.direction(grad))
    share = jnp.where(run.judged == 0, 1.0, _MOMENTUM)
    return point + share * (aim - point) + (1 - share) * (point - run.previous)


def _nonzero(point):
  """Coordinates that count. [...] -> []."""
  size = jnp.abs(point)
  return jnp.sum(size > _COUNTS * jnp.max(size)).astype(jnp.float32)


class Sparse(NamedTuple):
  """The step size in l1, and how many coordinates a step changes."""

  step_size: Array  # [], as a share of the radius
  changes: Array  # []
  nonzero: Array  # [], coordinates of the best point at the last checkpoint

  @staticmethod
  def checkpoints(steps: int) -> list[int]:
    return list(range(0, steps + 1, max(4 * steps // 100, 1)))

  @staticmethod
  def first(mask: Array) -> "Sparse":
    return Sparse(jnp.float32(1), 0.2 * jnp.sum(mask), jnp.sum(mask))

  @staticmethod
  def onward(point: Array) -> "Sparse":
    """Of a run that begins where another one ended."""
    nonzero = _nonzero(point)
    return Sparse(jnp.float32(1), nonzero / 1.5, nonzero)

  def adapt(self, run: "Run", loss: Array, gap: Array, rho: float):
    """By the nonzeros of the best point. -> Sparse, whether to go back to it."""
    nonzero = _nonzero(run.best)
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
  judged: Array  # int32 [], points so far, of this stretch
  stretch: Array  # int32 []
  pace: Dense | Sparse


class Descent(NamedTuple):
  """start: key, Problem -> Run, at random in the ball.
  advance: Run, Trial and its loss [], gradient [...] of the run's candidate, Problem ->
    Run, Trial; the Trial loses to all others where the ball was too large.
  over: Run -> bool [], whether it has no further point.
  points: that a run judges.
  """

  start: Callable[[Array, Problem], Run]
  advance: Callable[[Run, Trial, Array, Array, Problem], tuple[Run, Trial]]
  over: Callable[[Run], Array]
  points: int


def _since_last(checkpoints, steps):
  """Steps since the checkpoint before; 0 where none is. -> int32 [steps + 1]."""
  gaps = np.zeros(steps + 1, np.int32)
  at = [0, *sorted(set(checkpoints) - {0})]
  gaps[at[1:]] = np.diff(at)
  return gaps


def descent(steps: int, rho: float = 0.75, shrink: bool = False) -> Descent:
  """Runs of `steps` steps, as `apgd` explains."""
  require(steps >= 1, "steps", steps, "at least 1")
  require(0 <= rho <= 1, "rho", rho, "0 to 1")
  radii, lengths = [1.0], [steps]
  if shrink:
    radii = [radius for radius, _ in _SHRINKING]
    lengths = [-(-percent * steps // 100) for _, percent in _SHRINKING[:-1]]
    lengths.append(steps - sum(lengths))
    require(lengths[-1] >= 1, "steps", steps, "3 or at least 5, with shrink")
  gaps = {
    kind: np.stack(
      [
        np.pad(_since_last(kind.checkpoints(n), n), (0, max(lengths) - n))
        for n in lengths
      ]
    )
    for kind in (Dense, Sparse)
  }
  last = len(radii) - 1

  def ball(problem, stretch):
    """The problem with the ball of a stretch."""
    if not last:
      return problem
    return problem._replace(radius=problem.radius * jnp.asarray(radii)[stretch])

  def begin(point, stretch, pace, problem):
    best = (point, jnp.float32(jnp.inf), problem.zero)
    return Run(point, point, *best, jnp.int32(0), stretch, pace)

  def start(key, problem):
    point = ball(problem, jnp.int32(0)).random_start(key)
    pace = (Sparse if problem.norm.sparse else Dense).first(problem.example.mask)
    return begin(point, jnp.int32(0), pace, problem)

  def advance(run, trial, loss, grad, problem):
    best = (run.best, run.best_loss, run.best_grad)
    best = where(loss < run.best_loss, (run.candidate, loss, grad), best)
    run = run._replace(best=best[0], best_loss=best[1], best_grad=best[2])
    gap = jnp.asarray(gaps[type(run.pace)])[run.stretch, run.judged]
    pace, back = run.pace.adapt(run, loss, gap, rho)
    here = (run.candidate, grad)
    point, grad = where(back, (run.best, run.best_grad), here)
    within = ball(problem, run.stretch)
    moved = run._replace(
      candidate=within.project(pace.move(run, point, grad, within)),
      previous=point,
      judged=run.judged + 1,
      pace=pace,
    )
    if not last:
      return moved, trial
    ended = ~over(moved) & (moved.judged > jnp.asarray(lengths)[run.stretch])
    after = jnp.minimum(run.stretch + 1, last)
    point = ball(problem, after).project(run.best)
    smaller = begin(point, after, type(run.pace).onward(point), problem)
    outside = (run.stretch < last) & ~(trial.size <= problem.radius)
    return where(ended, smaller, moved), where(outside, lost(trial), trial)

  def lost(trial):
    """A NaN stays one; a gradient of 0 is no sign of anything so far out."""
    return trial._replace(
      loss=jnp.where(jnp.isnan(trial.loss), jnp.nan, jnp.inf),
      success=jnp.bool_(False),
      grad_size=jnp.where(trial.grad_size == 0, jnp.inf, trial.grad_size),
    )

  def over(run):
    return (run.stretch == last) & (run.judged > lengths[-1])

  return Descent(start, advance, over, steps + len(radii))


class APGDState(NamedTuple):
  trial: Trial
  run: Run


def apgd(
  *, steps: int = 100, restarts: int = 1, rho: float = 0.75, shrink: bool = False
) -> Attack:
  """Auto-PGD: z = P(x - eta * direction(g)), x <- P(x + 0.75 (z - x) + 0.25 (x - x')).

  x' is the point before x, P the projection, eta 2 radii at first. At the checkpoints,
  which come ever closer, eta is halved and x goes back to the best point so far where
  no more than `rho` of the steps since the last one lowered the loss (condition 1), or
  where eta was not halved at the last one. (The paper's condition 2 asks besides that
  the best loss stayed the same; without it short runs end lower, and long ones no
  higher.) The checkpoints, and "no more" where the paper has "fewer", are the authors'
  code's, which is stronger.
  In l1 without momentum: x <- P(x - eta * equal parts of the k coordinates with the
  largest gradients), eta 1 radius and k a fifth of the coordinates at first. Every 4%
  of the steps, rounded down, k is set to the best point's nonzero coordinates / 1.5
  (nonzero: over 0.3% of the largest; a projection leaves traces of others behind); if
  those fell below 95% of what they were, eta is reset and x goes back to the best
  point, else eta falls by 1.5, down to a tenth.
  steps: gradient steps; steps + 1 points are judged in each run, the first being its
  random start (`Problem.random_start`). restarts: runs, one after the other.
  shrink: each run has a ball of three radii for 30% of its steps, then, from its best
  point, one of two for 30%, and the wanted one for the rest; points outside that one
  don't count, and two more are judged. In l1 k begins anew at the nonzero coordinates
  / 1.5. AutoAttack does so in l1.
  Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
  diverse parameter-free attacks, ICML 2020, section 3, algorithm 1 (l2, linf); Croce
  and Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers,
  ICML 2021, section 3 (l1; shrink: its "multi-eps").
  """
  require(restarts >= 1, "restarts", restarts, "at least 1")
  descend = descent(steps, rho, shrink)

  def init(key, problem):
    return APGDState(unjudged(problem), descend.start(key, problem))

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.run.candidate)
    run, trial = descend.advance(state.run, trial, trial.loss, grad, problem)
    if restarts > 1:  # a random number for every sample is not free
      run = where(descend.over(run), descend.start(key, problem), run)
    return APGDState(trial, run)

  norms = ("l1", "l2", "linf")
  return Attack(init, step, restarts * descend.points, FIRST_SUCCESS, norms=norms)
