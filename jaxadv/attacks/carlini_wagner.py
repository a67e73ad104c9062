"""Carlini and Wagner's L2 attack: the smallest perturbation, by penalty and search."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxadv.attacks.checks import require
from jaxadv.core import (
  SMALLEST,
  Array,
  Attack,
  Problem,
  Trial,
  tie_break,
  unjudged,
  where,
)


class Point(NamedTuple):
  """What one look at the victim says."""

  trial: Trial
  logits: Array  # [K]
  hinge: Array  # [], max(margin + confidence, 0)
  slope: Array  # [...], of the hinge by delta before it is cut off at 0
  gain: Array  # [...], of delta by the modifier

  def descent(self, c: Array) -> Array:
    """The gradient of c * hinge by delta. [] -> [...]."""
    return jnp.where(self.hinge > 0, c, 0.0) * self.slope


def look(problem: Problem, modifier: Array, kappa: float = 0.0) -> Point:
  """Judges box * tanh(arctanh(x) + modifier): one forward and one backward pass.

  By tanh(a + m) - tanh(a) = tanh(m) (1 - tanh(a)^2) / (1 + tanh(a) tanh(m)): exactly 0
  where m is, and without the cancellation that costs a delta of 1e-5 half a percent.
  """
  low, high = problem.box
  half = (high - low) / 2
  # 0.999999: the authors', for arctanh is finite there
  clean = 0.999999 * (problem.example.x - (low + high) / 2) / half
  moved = jnp.tanh(modifier)
  moved = moved * (1 - clean) * (1 + clean) / (1 + clean * moved)
  delta = problem.project(half * moved)
  # XLA on CPU would compute tanh again for every use of delta
  delta = jax.lax.optimization_barrier(delta)

  def margin(delta):
    logits = problem.logits(delta)
    return problem.margin(logits), (logits, problem.judge(delta, logits))

  (lead, (logits, trial)), slope = jax.value_and_grad(margin, has_aux=True)(delta)
  trial, slope = problem.checked(trial, slope)
  hinge = jnp.maximum(lead + problem.objective.confidence + kappa, 0.0)
  # a tie is not won, and has a slope: what scales with the hinge is not to stop there
  tie = (hinge == 0) & ~trial.success
  hinge = jnp.where(tie, tie_break(logits), hinge)
  # the projection has no gradient at 0: as if it were not there
  squashed = clean + moved
  gain = half * (1 - squashed) * (1 + squashed) * problem.example.mask
  return Point(trial, logits, hinge, slope, gain)


_LARGEST = 1e10  # a weight, of a victim all but flat


def nearest(drop: Array, slope: Array) -> tuple[Array, Array]:
  """Of the smallest step along which a linear function falls by `drop`.

  [], [...] -> max |step| [], and drop / |slope|_2^2 [], half the weight of the function
  at which it is the minimum of |step|_2^2 + weight * function. 0 without a slope.
  """
  largest = jnp.max(jnp.abs(slope))
  scale = jnp.where(largest > 0, largest, jnp.inf)  # squares would underflow
  step = drop / scale / jnp.maximum(jnp.sum((slope / scale) ** 2), 1e-30)
  finite = lambda v: jnp.nan_to_num(v, nan=0.0, posinf=_LARGEST)  # noqa: E731
  return finite(step), finite(step / scale)


FASTEST = 0.1  # learning rate, where a nearly flat victim says that all is far


def travel(step: Array, iterations: int) -> Array:
  """The learning rate at which Adam, slowed by a cosine, goes 4 steps. [] -> []."""
  return jnp.minimum(8.0 / iterations * step, FASTEST)


def kept(state, hinge: Array) -> Array:
  """The last search's rate, or less where it went fast enough. [].

  At the pace of that search, which brought the hinge from `state.ahead` to what it is
  and found nothing, the next one then brings it down by twice what is left. Distances
  of first order may shrink faster than the boundary comes nearer. 0 before any search.
  """
  fell = state.ahead - hinge
  return state.rate * jnp.where(2 * hinge < fell, 2 * hinge / fell, 1.0)


def cosine(iteration: Array, iterations: int) -> Array:
  """From 1 to 0 over the iterations. [] -> []."""
  return (1 + jnp.cos(jnp.pi * iteration / iterations)) / 2


class CarliniWagnerState(NamedTuple):
  trial: Trial
  start: Array  # [...], modifier at which the search began
  modifier: Array  # [...], m
  opt: Any
  rate: Array
  ahead: Array  # [], the hinge where the search began, as long as none has won
  c: Array
  lower: Array
  upper: Array  # inf: before the first success
  search: Array  # int32 []
  iteration: Array  # int32 [], within the search
  found: Array  # bool [], a success within the search
  found_size: Array  # [], the smallest of them
  found_at: Array  # [...], its modifier; 0: none
  checkpoint: Array  # [], objective when `abort_early` last looked


def _probably(problem, logits):
  """The success rule of `subramanian`. [K] -> bool []."""
  said, example = jax.nn.softmax(logits), problem.example
  if problem.objective.targeted:
    return said[example.target] >= 0.975
  return (said[example.label] < 1 / len(said)) & (jnp.argmax(said) != example.label)


def carlini_wagner(
  *,
  search_steps: int = 9,
  iterations: int = 1000,
  learning_rate: float = 0.0,
  schedule: str = "cosine",
  c: float = 0.0,
  restart: str = "away",
  abort_early: bool = True,
  kappa: float = 0.0,
  variant: str = "canonical",
) -> Attack:
  """min |delta|_2^2 + c * max(margin + confidence, 0) over m, with Adam, and over c.

  x + delta = tanh(arctanh(x) + m), scaled to the box. c by binary search: halved
  between its bounds after a search with a success, times 10 until the first. The best
  point over all iterations counts (goal: smallest).
  abort_early: an example whose objective fell by less than 0.01% over a tenth of the
    iterations ends its search; over 10 of them at least, for Adam overshoots at first.
  steps: search_steps * iterations. The threat's norm is l2.

  learning_rate, c: 0 takes them from the first gradient, for perturbations may be
    1e-1 or 1e-5 of the box: c is twice that at which a linear victim's minimum is the
    nearest boundary, and Adam could go 4 times as far as that in every coordinate.
    With a rate of 0, as long as no search has won the next one goes on where the last
    one ended, and takes both from the gradient there, c at least ten times the last,
    the rate what that search's progress asks for where that is more (not the last
    search). After the first success the rate is that of the distance found.
  schedule: of the learning rate within a search, "cosine" (to 0) or "constant".
  restart: where the next search begins, "zero" or "away": at minus the sum of the best
    modifiers of the searches so far, where other classes are near.
  kappa: added to the objective's confidence in the hinge, not in what is a success.
  variant: "subramanian": mean square instead of sum; a success, to c and to what is
    kept, is where besides the label's probability is below 1 / K (the target's 0.975 or
    more); c stays after a search without one. Theirs: kappa=500, c=1e-2,
    learning_rate=1e-5, search_steps=2, with what is published as below; they sum the
    hinge over 2 s chunks, here it is that of the clip's logits.
  As published: learning_rate=1e-2, schedule="constant", c=1e-3, restart="zero",
  iterations=10000.
  Carlini and Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017,
  sections V and VI.A; constants of the authors' code. Subramanian et al., Adversarial
  Attacks in Sound Event Classification, 2019.
  """
  require(search_steps >= 1, "search_steps", search_steps, "at least 1")
  require(iterations >= 1, "iterations", iterations, "at least 1")
  require(learning_rate >= 0, "learning_rate", learning_rate, "0 (derived) or more")
  require(schedule in ("cosine", "constant"), "schedule", schedule, "cosine, constant")
  require(c >= 0, "c", c, "0 (derived) or more")
  require(restart in ("away", "zero"), "restart", restart, "away, zero")
  require(kappa >= 0, "kappa", kappa, "0 or more")
  variants = ("canonical", "subramanian")
  require(variant in variants, "variant", variant, ", ".join(variants))
  adam = optax.scale_by_adam()
  patience = max(iterations // 10, 10)

  def init(key, problem):
    zero, none, infinity = problem.zero, jnp.int32(0), jnp.float32(jnp.inf)
    return CarliniWagnerState(
      trial=unjudged(problem),
      start=zero,
      modifier=zero,
      opt=adam.init(zero),
      rate=jnp.float32(learning_rate),
      ahead=infinity,
      c=jnp.float32(c),
      lower=jnp.float32(0),
      upper=infinity,
      search=none,
      iteration=none,
      found=jnp.bool_(False),
      found_size=infinity,
      found_at=zero,
      checkpoint=infinity,
    )

  def step(key, state, problem):
    point = look(problem, state.modifier, kappa)
    trial, delta, share = point.trial, point.trial.delta, 1.0
    won = trial.success
    if variant == "subramanian":
      share, won = 1 / delta.size, _probably(problem, point.logits) & won
      trial = trial._replace(success=won)
    # derived anew where a search without success left off
    first = (state.iteration == 0) & jnp.isinf(state.upper)
    if not learning_rate:
      far, _ = nearest(point.hinge, point.slope * point.gain)
      # after the last search none is left to come nearer: first order is believed
      pace = jnp.where(state.search < search_steps - 1, kept(state, point.hinge), 0.0)
      rate = jnp.maximum(travel(far, iterations), pace)
      state = state._replace(
        rate=jnp.where(first, rate, state.rate),
        ahead=jnp.where(first, point.hinge, state.ahead),
      )
    if not c:
      _, weight = nearest(point.hinge, point.slope * problem.example.mask)
      larger = jnp.maximum(state.c, 4 * share * weight)
      state = state._replace(c=jnp.where(first, larger, state.c))
    value = share * jnp.sum(delta**2) + state.c * point.hinge
    grad = (2 * share * delta + point.descent(state.c)) * point.gain
    update, opt = adam.update(grad, state.opt)
    decay = cosine(state.iteration, iterations) if schedule == "cosine" else 1.0
    looks = abort_early & (state.iteration % patience == 0)
    stalled = looks & (value > 0.9999 * state.checkpoint)
    nearer = won & (trial.size < state.found_size)
    moved = state._replace(
      trial=trial,
      modifier=state.modifier - state.rate * decay * update,
      opt=opt,
      iteration=state.iteration + 1,
      found=state.found | won,
      found_size=jnp.where(nearer, trial.size, state.found_size),
      found_at=jnp.where(nearer, state.modifier, state.found_at),
      checkpoint=jnp.where(looks, value, state.checkpoint),
    )
    ended = stalled | (moved.iteration >= iterations)
    return where(ended, next_search(moved), moved)

  def next_search(state):
    upper = jnp.where(state.found, jnp.minimum(state.upper, state.c), state.upper)
    lower = jnp.where(state.found, state.lower, jnp.maximum(state.lower, state.c))
    bounded = jnp.isfinite(upper)
    larger = jnp.where(bounded, (lower + upper) / 2, state.c * 10)
    search = state.search + 1
    # the authors' last search repeats the c that is known to succeed
    repeat = (search_steps >= 10) & (search == search_steps - 1) & bounded
    larger = jnp.where(repeat, upper, larger)
    if variant == "subramanian":
      lower = state.lower
      larger = jnp.where(state.found, (lower + upper) / 2, state.c)
    start = state.start - state.found_at if restart == "away" else state.start
    modifier, rate = start, state.rate
    if not learning_rate:
      # no search has won: the boundary is farther than the first gradient says
      modifier = jnp.where(bounded, start, state.modifier)
      arrived = bounded & jnp.isinf(state.upper) & (state.search > 0)
      whole = travel(jnp.max(jnp.abs(state.found_at)), iterations)
      rate = jnp.where(arrived, whole, rate)
    return state._replace(
      start=start,
      modifier=modifier,
      rate=rate,
      opt=jax.tree.map(jnp.zeros_like, state.opt),
      c=larger,
      lower=lower,
      upper=upper,
      search=search,
      iteration=jnp.int32(0),
      found=jnp.bool_(False),
      found_size=jnp.float32(jnp.inf),
      found_at=jnp.zeros_like(state.found_at),
      checkpoint=jnp.float32(jnp.inf),
    )

  return Attack(
    init,
    step,
    search_steps * iterations,
    SMALLEST,
    needs_radius=False,
    norms=("l2",),
    label_sets=variant == "canonical",
    finished=lambda state: state.search >= search_steps,
    descends_margin=True,
  )
