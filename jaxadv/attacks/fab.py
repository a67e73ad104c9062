"""FAB: to the boundary of the linearised victim, drawn towards the clean clip."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import SMALLEST, Array, Attack, Trial, tie_break, unjudged, where
from jaxadv.errors import InputError

# past the boundary, as a share of the size so far: in l1 until the first success, in
# other norms until then, and after
_FIRST_BEYOND_L1, _FIRST_BEYOND, _BEYOND = 0.1, 1e-2, 3e-4


class Segment(NamedTuple):
  """From the clean clip (0) to the smallest success (1), for the final search."""

  share: Array  # [], the point to be judged next
  inner: Array  # [], the last failure
  inner_gap: Array  # [], how far the margin is from a safe success there
  outer_gap: Array  # [], the same of the success


class FABState(NamedTuple):
  candidate: Array
  trial: Trial
  best: Trial  # the smallest success
  won: Array  # bool [], a success in this run
  segment: Segment
  rivals: Array  # int32 [R], classes by the clean clip's logits; -1: not known yet
  taken: Array  # int32 [], points judged


def _narrowed(segment, searching, first, smaller, gap):
  """After a judgement: regula falsi, a fifth of the way further out."""
  failed = searching & ~smaller
  inside = jnp.where(
    smaller, segment.inner / jnp.maximum(segment.share, 1e-30), segment.share
  )
  inner = jnp.where(searching, inside, 0.0)
  inner_gap = jnp.where(failed | first, gap, segment.inner_gap)
  outer_gap = jnp.where(smaller, gap, segment.outer_gap)
  fall = inner_gap - outer_gap
  crossing = jnp.clip(inner_gap / jnp.where(fall > 0, fall, 1.0), 0.0, 1.0)
  share = inner + (1 - inner) * (0.8 * crossing + 0.2)
  return Segment(share, inner, inner_gap, outer_gap)


def _by_margin(problem):
  """Whether the margin's own gradient is the hyperplane to go to."""
  return problem.objective.targeted or jnp.ndim(problem.example.label) > 0


def _boundaries(problem, logits, rivals):
  """How far each boundary is, in logits, and the logits' part in it. [R], [R, K]."""
  label, confidence = problem.example.label, problem.objective.confidence
  if _by_margin(problem):
    gap, rise = jax.value_and_grad(problem.margin)(logits)
    return gap[None] + confidence, -rise[None]
  one_hot = jax.nn.one_hot(jnp.append(rivals, label), logits.size)
  return logits[label] - logits[rivals] + confidence, one_hot[:-1] - one_hot[-1]


def fab(
  *,
  iterations: int = 100,
  restarts: int = 1,
  classes: int = 10,
  targets: int = 0,
  alpha_max: float = 0.1,
  eta: float = 1.05,
  beta: float = 0.9,
  final_search: int = 3,
) -> Attack:
  """Minimum-norm attack: (1 - a) (d + eta * p) + a * eta * p0, from d = 0.

  p and p0 are the smallest steps in the box from d and from the clean clip onto the
  nearest class boundary of the victim linearised at the last point, |.| the threat's
  norm; a = min(|p| / (|p| + |p0|), alpha_max). After a success d is beta times it, and
  the linearisation made there serves on, so that an iteration costs one forward pass
  (the paper judges, steps back and linearises anew). Of the paper's it differs also in
  that a is 0 until a run's first success, and p aims past the boundary, by 1% of |d|
  (in l1, whose few coordinates go far, by 10%), then by 0.03%: where it is curved, the
  pull to the clean clip holds d in front of it for good.
  iterations: of one run; iterations + 1 points are judged in each.
  restarts: runs; the first from the clean clip, others at random, half as far as the
    smallest success or the radius (in the ball of neither: as the last candidate).
  classes: boundaries to `classes` - 1 rivals, those with the largest clean logits, are
    linearised in each step, a backward pass each.
  targets: if not 0, FAB-T: so many rivals, one at a time, `restarts` runs each, one
    backward pass a step. A targeted threat, or one of many labels, goes towards its
    margin's own boundary, one backward pass, no rivals.
  eta: overshoot. beta: step back.
  With a radius all points are inside the ball.
  final_search: points judged at the end between the smallest success and the clean
    clip, by regula falsi on the margin.
  Croce and Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary
  Attack, ICML 2020, algorithm 1; FAB-T: Croce and Hein, Reliable evaluation of
  adversarial robustness, ICML 2020, section 5.
  """
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(restarts >= 1, "restarts", restarts, "at least 1")
  require(classes >= 2, "classes", classes, "at least 2")
  require(targets >= 0, "targets", targets, "0 (all classes at once) or more")
  require(0 <= alpha_max <= 1, "alpha_max", alpha_max, "a number in [0, 1]")
  require(eta >= 1, "eta", eta, "at least 1")
  require(0 < beta <= 1, "beta", beta, "a number in (0, 1]")
  require(final_search >= 0, "final_search", final_search, "0 or more")
  length = iterations + 1

  def searched(state):
    """Points judged before the final search."""
    return length * restarts * (state.rivals.size if targets else 1)

  def init(key, problem):
    if problem.norm.hyperplane is None:
      raise InputError(
        "fab has no step onto a hyperplane in this norm, of frames or of a band: take "
        "l1, l2 or linf, or another attack, such as fmn"
      )
    count = jax.eval_shape(problem.logits, problem.zero).shape[0]
    rivals = 1 if _by_margin(problem) else min(targets or classes - 1, count - 1)
    start, segment = unjudged(problem), Segment(*[jnp.float32(0)] * 4)
    rivals = jnp.full(rivals, -1)
    won, taken = jnp.bool_(False), jnp.int32(0)
    return FABState(problem.zero, start, start, won, segment, rivals, taken)

  def advance(problem, trial, gaps, grads, succeeded, tie):
    norm, (low, high) = problem.norm, problem.bounds
    here = jnp.where(trial.success, beta, 1.0) * trial.delta
    # from `here`, or the class just crossed would stay the nearest
    gaps += jax.vmap(jnp.vdot, (0, None))(grads, trial.delta - here)
    dual = jax.vmap(norm.dual)(grads)
    distance = jnp.where(
      dual > 0, jnp.abs(gaps) / jnp.where(dual > 0, dual, 1), jnp.inf
    )
    nearest = jnp.argmin(distance)
    normal = grads[nearest]
    # or a boundary that is curved would be neared for ever, and never crossed
    until = _FIRST_BEYOND_L1 if norm.sparse else _FIRST_BEYOND
    beyond = jnp.where(succeeded, _BEYOND, until) * norm.size(here)
    gap = gaps[nearest] + beyond * dual[nearest]
    gap = jnp.where(gap == 0, tie, gap)  # a step of 0 would leave it as it is
    offsets = gap + jnp.array([0.0, jnp.vdot(normal, here)])
    points = jnp.stack([here, problem.zero])
    onto = jax.vmap(norm.hyperplane, (None, 0, 0, 0))
    # rounding may leave a point outside the box
    room = jnp.minimum(low - points, 0.0), jnp.maximum(high - points, 0.0)
    steps = onto(normal, offsets, *room)
    sizes = jax.vmap(norm.size)(steps)
    total = jnp.sum(sizes)
    alpha = jnp.minimum(sizes[0] / jnp.where(total > 0, total, 1.0), alpha_max)
    alpha = jnp.where(succeeded, alpha, 0.0)
    return (1 - alpha) * (here + eta * steps[0]) + alpha * eta * steps[1]

  def start(key, problem, best, last, turn):
    """Of a run."""
    norm = problem.norm
    reach = jnp.minimum(best.size, problem.radius)
    reach = jnp.where(jnp.isfinite(reach), reach, norm.size(last)) / 2
    random = norm.sample(key, problem.example.mask)
    random *= reach / jnp.maximum(norm.size(random), 1e-30)
    return jnp.where(turn % restarts == 0, 0.0, random)

  def step(key, state, problem):
    label, first = problem.example.label, state.taken == 0
    logits, pull = jax.vjp(problem.logits, state.candidate)
    rivals = state.rivals
    if not _by_margin(problem):
      others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
      unknown = (rivals[0] < 0) & ~jnp.isnan(logits).any()
      rivals = jnp.where(unknown, jax.lax.top_k(others, rivals.size)[1], rivals)
    turn = state.taken // length
    aims = rivals[turn // restarts][None] if targets else rivals
    gaps, cotangents = _boundaries(problem, logits, aims)
    (grads,) = jax.vmap(pull)(cotangents)
    trial, grads = problem.checked(problem.judge(state.candidate, logits), grads)
    smaller = trial.success & (trial.size < state.best.size)
    best = where(smaller, trial, state.best)
    gap = problem.margin(logits) + problem.objective.confidence
    # nearer to 0, another batch size's rounding would turn success into failure
    gap = jnp.nan_to_num(gap + 1e-5 * jnp.max(jnp.abs(logits)))
    searching = state.taken >= searched(state)
    segment = _narrowed(state.segment, searching, first, smaller, gap)
    taken = state.taken + 1
    won = state.won | trial.success
    candidate = advance(problem, trial, gaps, grads, won, tie_break(logits))
    # the victim said no number: half way back
    candidate = jnp.where(jnp.isfinite(candidate), candidate, state.candidate / 2)
    begin = start(key, problem, best, candidate, taken // length)
    anew = taken % length == 0
    candidate = problem.project(jnp.where(anew, begin, candidate))
    ended = taken >= searched(state)
    candidate = jnp.where(ended, segment.share * best.delta, candidate)
    return FABState(candidate, trial, best, won & ~anew, segment, rivals, taken)

  return Attack(
    init,
    step,
    length * restarts * (targets or 1) + final_search,
    SMALLEST,
    backward_passes=1 if targets else classes - 1,
    per_rival=True,
    needs_radius=False,
    norms=("l1", "l2", "linf"),
    finished=lambda state: state.taken >= searched(state) + final_search,
  )
