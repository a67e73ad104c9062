"""JSMA: one feature or a pair a step, the most salient of the logits' Jacobian."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged

_SATURATED = 1e-6  # of the box's range: room that is none
_SIGNS = {"increase": (1,), "decrease": (-1,), "both": (1, -1)}


class JSMAState(NamedTuple):
  candidate: Array  # [...], judged next
  trial: Trial
  counts: Array  # int32 [...], changes of each feature
  stuck: Array  # bool [], no feature could be changed


def _salient(gain, rest):
  """The value of the best feature and its place, eq. 8 (eq. 9: negate both).

  [n], [n] -> [], int32 [1].
  """
  value = jnp.where((gain > 0) & (rest < 0), -gain * rest, 0.0)
  at = jnp.argmax(value)
  return value[at], at[None]


def _salient_pair(gain, rest, cost, left, candidates):
  """The value of the best pair and its two places, algorithm 3.

  cost: [n], what changing a feature takes of what is `left` []; inf: out of the domain.
  [n], [n], [n], [] -> [], int32 [2].
  """
  promise = jnp.where(cost <= left, gain - rest, -jnp.inf)
  places = jax.lax.top_k(promise, min(candidates, gain.size))[1]
  g, r, cost = (v[places][:, None] + v[places] for v in (gain, rest, cost))
  pairs = jnp.triu((cost <= left) & (cost < jnp.inf), 1)
  value = jnp.where(pairs & (g > 0) & (r < 0), -g * r, 0.0)
  first, second = jnp.unravel_index(jnp.argmax(value), value.shape)
  return value[first, second], places[jnp.stack([first, second])]


def _unit(values):
  """Products of small gradients would underflow."""
  largest = jnp.max(jnp.abs(values))
  return values / jnp.where(largest > 0, largest, 1.0)


def jsma(
  *,
  steps: int = 1000,
  theta: float = 1.0,
  features: int = 1,
  direction: str = "increase",
  changes: int = 7,
  fast: bool = True,
  candidates: int = 128,
) -> Attack:
  """Changes the features that raise the target's logit and lower the others' most.

  With g_i and r_i the gradients, times the step's sign, of the target's logit and of
  the sum of the others, the next feature is argmax -g_i r_i where g_i > 0 > r_i (eqs. 8
  and 9), or the next pair argmax -(g_p + g_q)(r_p + r_q) (algorithm 3). Where none
  qualifies, the largest g_i > 0. Untargeted: the true class in the target's place, both
  signs turned (NT-JSMA); with direction "both" the sign whose value is larger (M-JSMA);
  both of Wiyatno and Xu, Maximal Jacobian-based Saliency Map Attack, 2018, section 3.

  steps: at most so many; steps + 1 points are judged, the clean clip first.
  theta: length of a step as a share of the box's range; what the box leaves, if that is
    less, however little.
  features: 1 or 2 in a step. direction: "increase", "decrease" or "both", but never
    back: a feature goes on as it was first changed. One alone is stronger (BUILD.md).
  changes: at most so many of one feature; then it leaves the search domain, as do
    saturated and masked features.
  fast: r_i = -1, so that g alone decides: one backward pass in place of two, and the
    stronger too.
  candidates: pairs are sought among so many features with the largest g - r, each
    relative to its maximum: exact if there are no more features.
  A radius (l0) is the most features that may be changed.
  Papernot et al., The Limitations of Deep Learning in Adversarial Settings, EuroS&P
  2016, sections 3 and 4; `changes` and `fast` are Foolbox's.
  """
  require(steps >= 1, "steps", steps, "at least 1")
  require(theta > 0, "theta", theta, "more than 0; direction says its sign")
  require(features in (1, 2), "features", features, "1 or 2")
  require(direction in _SIGNS, "direction", direction, f"one of {', '.join(_SIGNS)}")
  require(changes >= 1, "changes", changes, "at least 1")
  require(candidates >= 2, "candidates", candidates, "at least 2")

  def init(key, problem):
    counts = jnp.zeros(problem.zero.shape, jnp.int32)
    return JSMAState(problem.zero, unjudged(problem), counts, jnp.bool_(False))

  def jacobian(problem, delta):
    """The Trial; gradients of the logit to be raised and of the rest's sum [n], [n]."""
    example, targeted = problem.example, problem.objective.targeted
    logits, pull = jax.vjp(problem.logits, delta)
    raised = jax.nn.one_hot(
      example.target if targeted else example.label, logits.size, dtype=logits.dtype
    )
    sign = 1 if targeted else -1
    wanted = jnp.stack([raised] if fast else [raised, 1 - raised]) * sign
    (grads,) = jax.vmap(pull)(wanted)
    trial, grads = problem.checked(problem.judge(delta, logits), grads)
    grads = grads.reshape(len(grads), -1)
    return trial, grads[0], grads[-1]

  def best_move(sign, gain, rest, room, cost, left):
    """For steps of one sign: the largest value and gain, the move. [], [], [n]."""
    gain = jnp.where(room > 0, sign * gain, 0.0)
    rest = jnp.where(room > 0, -1.0 if fast else sign * rest, 0.0)
    if features == 1:
      value, places = _salient(gain, rest)
    else:
      cost = jnp.where(room > 0, cost, jnp.inf)
      value, places = _salient_pair(gain, rest, cost, left, candidates)
    # where no feature qualifies
    most = jnp.argmax(gain)
    alone = (jnp.arange(room.size) == most) & (gain > 0)
    chosen = jnp.zeros(room.shape, bool).at[places].set(True)
    move = jnp.where(jnp.where(value > 0, chosen, alone), sign * room, 0.0)
    return value, gain[most], move

  def next_move(state, problem, gain, rest):
    (low, high), x = problem.bounds, state.candidate
    gain, rest = _unit(gain), _unit(rest)
    span = problem.box[1] - problem.box[0]
    cost = jnp.where(state.counts > 0, 0.0, 1.0)
    left = problem.radius - (cost.size - jnp.sum(cost))
    domain = (state.counts < changes) & (cost <= left)

    def of(sign):
      room = jnp.minimum(high - x if sign > 0 else x - low, theta * span)
      free = domain & (sign * x >= 0) & (room > _SATURATED * span)
      room = jnp.where(free, room, 0.0)
      return best_move(sign, gain, rest, room.ravel(), cost.ravel(), left)

    values, gains, moves = map(jnp.stack, zip(*map(of, _SIGNS[direction]), strict=True))
    better = jnp.argmax(jnp.where(jnp.any(values > 0), values, gains))
    return moves[better].reshape(x.shape)

  def step(key, state, problem):
    trial, gain, rest = jacobian(problem, state.candidate)
    move = next_move(state, problem, gain, rest)
    candidate = problem.fit(state.candidate + move)
    # without an answer there is no gradient either: the same point is judged again
    stuck = jnp.all(move == 0) & ~jnp.isnan(trial.loss)
    return JSMAState(candidate, trial, state.counts + (move != 0), stuck)

  return Attack(
    init,
    step,
    steps + 1,
    FIRST_SUCCESS,
    backward_passes=1 if fast else 2,
    needs_radius=False,
    norms=("l0",),
    label_sets=False,
    finished=lambda state: state.stuck,
  )
