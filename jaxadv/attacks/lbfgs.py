"""L-BFGS attack: the smallest l2 perturbation, by penalty and search for its weight."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, unjudged, where

_DECREASE = 1e-4  # Armijo's share of the decrease that the slope promises
_ROUNDING = 2e-7  # of the objective: what float32 cannot tell from no change
_CURVATURE = 0.02  # below it, a pair's curvature is taken from |delta|^2 alone
_LARGEST = 1e10  # of c
_TRIES = 10  # rejected lengths in a row, then memory is forgotten or the search ends


class LBFGSState(NamedTuple):
  candidate: Array  # [...], judged next
  trial: Trial
  best: Array  # [...], the smallest success
  best_size: Array  # []
  direction: Array  # [...]
  # of optax; its params and updates: the accepted point, the objective's gradient there
  opt: Any
  value: Array  # [], the objective at the accepted point; inf: a search begins
  success: Array  # bool [], there
  length: Array  # [], of the step along the direction
  tries: Array  # int32 [], rejected in a row
  c: Array
  lower: Array
  upper: Array
  search: Array  # int32 []
  iteration: Array  # int32 [], within the search
  fails: Array  # [], the largest share of `best` that is known to fail
  wins: Array  # [], the smallest that is known to succeed
  end: Any = ()  # Trial of the accepted point, where only the searches' ends count


def _minimiser(slope, end_slope, rise):
  """Where in (0, 1) the cubic has its minimum; of its slopes and f(1) - f(0). []."""
  middle = slope + end_slope - 3 * rise
  root = jnp.sqrt(jnp.maximum(middle**2 - slope * end_slope, 0.0))
  share = 1 - (end_slope + root - middle) / (end_slope - slope + 2 * root)
  return jnp.clip(jnp.nan_to_num(share, nan=0.1), 0.1, 0.6)


def lbfgs(
  *,
  search_steps: int = 9,
  iterations: int = 100,
  c: float = 0.1,
  growth: float = 10.0,
  memory: int = 5,
  tolerance: float = 1e-6,
  shrink: int = 10,
  every_point: bool = True,
) -> Attack:
  """min |delta|_2^2 + c * loss within box and mask, by projected L-BFGS, and over c.

  The loss is the objective's own, so the method is targeted (as published) or not. c:
  its first value; after a search whose end point succeeds, halfway to the largest that
  failed; times `growth` until the first success, then halfway between the bounds. Every
  search starts at the clean clip (goal: smallest).
  search_steps, iterations: searches, and points judged in each (a line search seldom
  takes more than one); a search is over when a step lowers the objective by less than
  `tolerance` of its terms. memory: pairs kept, 2 * memory clips of state to run through
  in every step: 10, as in scipy, saved 3% of the steps on a small network.
  shrink: points judged at the end, on the line from the clean clip to the best one, by
    bisection. 0: as published. With untargeted cross-entropy the penalty's minimum
    jumps over the boundary where the victim is sure; this brings it back.
  every_point: each point judged counts. False: the searches' ends alone, as published;
    they lie further behind the boundary.
  steps: search_steps * iterations + shrink. The threat's norm ranks the trials; l2.
  Directions by optax. A coordinate at its bound whose gradient points outward stays,
  and takes no part in the pair that is remembered (Bertsekas, Projected Newton Methods,
  SIAM J. Control and Optimization 1982); a step is cut to the cubic's minimum until it
  decreases enough (Nocedal and Wright, Numerical Optimization, eqs. 3.4 and 3.59).
  Szegedy et al., Intriguing properties of neural networks, ICLR 2014, section 4.1.
  Constants of others: P1's code: c 0.1, 2 searches, 200 iterations; CleverHans: c 0.01,
  5 searches, 1000; Foolbox: c 2e-5 and growth 2, memory 15.
  """
  require(search_steps >= 1, "search_steps", search_steps, "at least 1")
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(c > 0, "c", c, "more than 0")
  require(growth > 1, "growth", growth, "more than 1")
  require(memory >= 1, "memory", memory, "at least 1")
  require(tolerance >= 0, "tolerance", tolerance, "0 or more")
  require(shrink >= 0, "shrink", shrink, "0 or more")
  transform: Any = optax.scale_by_lbfgs(memory)

  def init(key, problem):
    zero, number, no = problem.zero, jnp.float32, jnp.int32(0)
    return LBFGSState(
      candidate=zero,
      trial=unjudged(problem),
      best=zero,
      best_size=number(jnp.inf),
      direction=zero,
      opt=transform.init(zero),
      value=number(jnp.inf),
      success=jnp.bool_(False),
      length=number(1),
      tries=no,
      c=number(c),
      lower=number(0),
      upper=number(jnp.inf),
      search=no,
      iteration=no,
      fails=number(0),
      wins=number(1),
      end=() if every_point else unjudged(problem),
    )

  def remember(opt, problem, point, grad, forget, fresh):
    """The quasi-Newton direction at a point, and the memory with the pair to there."""
    low, high = problem.bounds
    free = ~((point <= low) & (grad > 0) | (point >= high) & (grad < 0))
    move, change = point - opt.params, (grad - opt.updates) * free
    curved = jnp.vdot(move, change) > _CURVATURE * jnp.sum((move * free) ** 2)
    before = grad - jnp.where(curved, change, 2 * move)
    known = opt._replace(
      count=jnp.where(forget, 0, opt.count),
      weights_memory=jnp.where(forget, 0.0, opt.weights_memory),
      updates=before * free,
    )
    # without a move it clears the oldest pair alone, which goes next: no copy is needed
    update, new = transform.update(grad * free, known, point)
    count = jnp.where(fresh, new.count, known.count)
    return -update * free, new._replace(count=count, updates=grad)

  def advance(state, problem, trial, grad):
    """One step of the line search; a new direction where the point is accepted."""
    opt, point = state.opt, state.candidate
    grad = 2 * point + state.c * grad
    move = point - opt.params
    slope, end_slope = jnp.vdot(opt.updates, move), jnp.vdot(grad, move)
    square = jnp.sum(point**2)
    value = square + state.c * trial.loss
    scale = square + state.c * jnp.abs(trial.loss)
    enough = state.value + _DECREASE * slope + _ROUNDING * scale
    accepted = (slope <= 0) & (value <= enough)
    tries = jnp.where(accepted, 0, state.tries + 1)
    stuck = tries >= _TRIES
    forget = stuck & (opt.count > 1)
    small = (
      jnp.where(accepted, state.value - value, jnp.abs(slope)) <= tolerance * scale
    )
    last = state.iteration + 1 >= iterations
    ended = small | last | (stuck & ~forget)

    point = jnp.where(accepted, point, opt.params)
    grad = jnp.where(accepted, grad, opt.updates)
    fresh = accepted | forget
    direction, opt = remember(opt, problem, point, grad, forget, fresh)
    shorter = state.length * _minimiser(slope, end_slope, value - state.value)
    moved = state._replace(
      direction=jnp.where(fresh, direction, state.direction),
      opt=opt,
      value=jnp.where(accepted, value, state.value),
      success=jnp.where(accepted, trial.success, state.success),
      length=jnp.where(fresh, 1.0, shorter),
      tries=jnp.where(fresh, 0, tries),
      iteration=state.iteration + 1,
    )
    point = point + moved.length * moved.direction
    return moved._replace(candidate=problem.project(point)), ended, accepted

  def next_search(state, ended):
    """Where a search has ended, another begins at the clean clip with another c."""
    upper = jnp.where(state.success, state.c, state.upper)
    lower = jnp.where(state.success, state.lower, state.c)
    larger = jnp.minimum(state.c * growth, _LARGEST)
    larger = jnp.where(jnp.isfinite(upper), (lower + upper) / 2, larger)
    opt = state.opt

    def pick(new, old):
      return jnp.where(ended, new, old)

    return state._replace(
      candidate=pick(0.0, state.candidate),
      opt=opt._replace(
        count=pick(0, opt.count),
        weights_memory=pick(0.0, opt.weights_memory),
        params=pick(0.0, opt.params),
      ),
      value=pick(jnp.inf, state.value),
      tries=pick(0, state.tries),
      c=pick(larger, state.c),
      lower=pick(lower, state.lower),
      upper=pick(upper, state.upper),
      search=state.search + ended,
      iteration=pick(0, state.iteration),
    )

  def shrunk(state, problem, searching):
    """The candidate once the searches are over: halfway between win and failure."""
    judged = ~searching
    middle = (state.fails + state.wins) / 2
    wins = jnp.where(judged & state.trial.success, middle, state.wins)
    fails = jnp.where(judged & ~state.trial.success, middle, state.fails)
    share = problem.project(state.best * (fails + wins) / 2)
    over = state.search >= search_steps
    candidate = jnp.where(over, share, state.candidate)
    return state._replace(candidate=candidate, wins=wins, fails=fails)

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.candidate)
    searching = state.search < search_steps
    moved, ended, accepted = advance(state, problem, trial, grad)
    if not every_point:
      end = where(accepted, trial, state.end)
      none = jnp.where(jnp.isnan(trial.loss), jnp.nan, jnp.inf)
      none = trial._replace(loss=none, success=jnp.bool_(False))
      # the gradient that is counted is this step's
      told = end._replace(grad_size=trial.grad_size)
      trial = where(searching, where(ended, told, none), trial)
      moved = moved._replace(end=end)
    smaller = trial.success & (trial.size < state.best_size) & searching
    moved = moved._replace(
      trial=trial,
      best=jnp.where(smaller, trial.delta, state.best),
      best_size=jnp.where(smaller, trial.size, state.best_size),
    )
    return shrunk(next_search(moved, ended & searching), problem, searching)

  def finished(state):
    lost, tried = jnp.isinf(state.best_size), state.iteration >= shrink
    return (state.search >= search_steps) & (lost | tried)

  return Attack(
    init,
    step,
    search_steps * iterations + shrink,
    SMALLEST,
    needs_radius=False,
    norms=("l2",),
    finished=finished,
  )
