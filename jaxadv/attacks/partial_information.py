"""Partial-information attack: from a clip of the wanted class towards the clean one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.attacks.checks import require
from jaxadv.attacks.nes import anneal, antithetic, per_coordinate, slope
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged


class PartialInformationState(NamedTuple):
  candidate: Array  # of the wanted class, in the ball of radius epsilon
  trial: Trial
  epsilon: Array  # []
  wanted: Array  # int32 [], the class to be kept in sight; -1: not known yet
  gradient: Array  # with momentum
  rate: Array  # [], of epsilon
  decay: Array  # [], of epsilon
  losses: Array  # [plateau], the last ones; inf: not yet


# what a step proposes, the boldest first: shares of `decay`, each with shares of `rate`
_DECAYS, _RATES = (1.0, 1 / 2, 1 / 4, 0.0), (1.0, 1 / 4, 1 / 16)
_GRID = np.array([(d, r) for d in _DECAYS for r in _RATES])
_LEAST_DECAY, _CARRIED_DECAY, _CONSERVATIVE = 2e-3, 0.1, 2.0


def _visible(logits: Array, wanted: Array, count: int) -> tuple[Array, Array]:
  """What `count` best classes and their probabilities tell of the wanted class.

  -> its -log p, and whether it is among them. Where it is not: the least that -log p
  can be, as p is at most the smallest one seen and what they leave of 1. Where logits
  are NaN: NaN, not seen. A class not known yet is not seen. [K] -> [], [].
  """
  log_probs = jax.nn.log_softmax(logits)
  known = (wanted >= 0) & ~jnp.isnan(log_probs[wanted])
  seen = known & (jnp.sum(logits > logits[wanted]) < count)
  ordered = jnp.sort(log_probs)[::-1]
  rest = jax.nn.logsumexp(jnp.append(ordered[count:], -jnp.inf))
  hidden = jnp.minimum(ordered[count - 1], rest)
  return -jnp.where(seen, log_probs[wanted], hidden), seen


def partial_information(
  *,
  queries: int = 10_000,
  samples: int = 50,
  top_k: int = 1,
  sigma: float = 0.02,
  learning_rate: float = 0.2,
  least_rate: float = 1e-3,
  momentum: float = 0.9,
  plateau: int = 5,
  decay: float = 0.5,
  sure: float = 0.7,
) -> Attack:
  """Keeps the wanted class in sight while the ball around the clean clip shrinks.

  The victim tells the probabilities of its `top_k` best classes, and no more. Each step
  asks for `samples` points around the candidate, as `nes` does, whose -log p of the
  wanted class (where it is not seen, the least that it can be: `_visible`) gives the
  direction; and for 12 proposals along the direction so far: a smaller ball, or this
  one, and a long step, or a shorter one. The first, in this order, in which the wanted
  class is seen becomes the candidate. The first of all goes straight to the threat's
  radius, and is what is judged until a candidate is there; the first point judged is
  the clean clip.
  It begins at `Example.start`, a clip [...] of the wanted class; an example without one
  at the clean clip, for a top_k that shows the wanted class there.
  The wanted class is the target; untargeted, the best but the label that the start has.
  queries: of the victim, at most. sigma: as in `nes`, a share of the radius.
  learning_rate, least_rate: length of a step, as shares of the ball; halved where the
    loss rose over `plateau` steps or no proposal was good.
  decay: share of the ball's radius that the boldest proposal takes off, at first; what
    is taken off is half of what was good. Proposed while -log p is below `sure`
    (theirs: 0.2); a victim that is never so sure needs more.
  Score-based: no backward pass. Ilyas, Engstrom, Athalye and Lin, Black-box Adversarial
  Attacks with Limited Queries and Information, ICML 2018, section 3.2; constants of the
  authors' code, there in shares of the box for a radius of 0.05 of it. Theirs asks for
  one proposal at a time, after the samples, and takes 0 for an unseen -log p.
  """
  require(samples >= 2 and samples % 2 == 0, "samples", samples, "an even number")
  asked = samples + len(_GRID)
  require(queries >= asked, "queries", queries, f"at least {asked} (one step)")
  require(top_k >= 1, "top_k", top_k, "at least 1")
  require(sigma > 0, "sigma", sigma, "more than 0")
  require(learning_rate > 0, "learning_rate", learning_rate, "more than 0")
  expected = f"0 to {learning_rate} (learning_rate)"
  require(0 <= least_rate <= learning_rate, "least_rate", least_rate, expected)
  require(0 <= momentum < 1, "momentum", momentum, "0 or more and less than 1")
  require(plateau >= 2, "plateau", plateau, "at least 2")
  require(0 < decay <= 1, "decay", decay, "more than 0 and at most 1")

  def init(key, problem):
    x, start = problem.example.x, problem.example.start
    candidate = problem.zero if isinstance(start, tuple) else problem.fit(start - x)
    epsilon = jnp.maximum(problem.norm.size(candidate), problem.radius)
    numbers = (jnp.float32(learning_rate), jnp.float32(decay))
    losses = jnp.full(plateau, jnp.inf)
    known = (candidate, unjudged(problem), epsilon, jnp.int32(-1), problem.zero)
    return PartialInformationState(*known, *numbers, losses)

  def propose(state, problem):
    """The balls [P] and the points in them [P, ...]."""
    shrunk = state.epsilon * (1 - state.decay * _GRID[:, 0])
    balls = jnp.maximum(shrunk, problem.radius).at[0].set(problem.radius)
    lengths = state.rate * state.epsilon * _GRID[:, 1]
    downhill = -problem.norm.direction(state.gradient)

    def one(ball, length):
      within = problem._replace(radius=ball)
      return within.project(state.candidate + length * downhill)

    points = jax.vmap(one)(balls, lengths)
    return balls, points.at[0].set(jnp.where(state.wanted < 0, 0.0, points[0]))

  def class_wanted(state, problem, logits):
    if problem.objective.targeted:
      return problem.example.target
    others = jnp.arange(logits.size) != problem.example.label
    best = jnp.argmax(jnp.where(others, logits, -jnp.inf))
    best = jnp.where(jnp.isnan(logits).any(), -1, best)
    return jnp.where(state.wanted < 0, best, state.wanted)

  def step(key, state, problem):
    noise = antithetic(key, problem.example.mask, samples)
    width = sigma * per_coordinate(problem)
    balls, points = propose(state, problem)
    around = state.candidate + width * noise
    logits = jax.vmap(problem.logits)(jnp.concatenate([points, around]))
    # before the first gradient the last proposal is the start itself
    wanted = class_wanted(state, problem, logits[len(points) - 1])
    count = min(top_k, logits.shape[1])
    every, seen = jax.vmap(_visible, (0, None, None))(logits, wanted, count)
    losses, loss = every[len(points) :], jnp.nanmean(every[len(points) :])
    shrinks = balls < state.epsilon
    good = seen[: len(points)] & (~shrinks | (loss < sure))
    at = jnp.argmax(good)
    judged = jnp.where(good[at] & (balls[at] <= problem.radius), at, 0)
    trial = problem.judge(points[judged], logits[judged])
    trial, estimate = problem.checked(trial, slope(noise, losses, width))
    state = state._replace(
      candidate=jnp.where(good[at], points[at], state.candidate),
      trial=trial,
      wanted=wanted,
      gradient=momentum * state.gradient + (1 - momentum) * estimate,
    )
    return schedule(state, problem, loss, at, good[at], good[at] & shrinks[at])

  def schedule(state, problem, loss, at, moved, shrank):
    """Epsilon, decay and rate, after what the victim said of the proposals."""
    share = state.decay * jnp.asarray(_GRID)[at, 0]
    epsilon = jnp.maximum(state.epsilon * (1 - share / _CONSERVATIVE), problem.radius)
    smaller = jnp.maximum(state.decay * _DECAYS[-2] / 2, _LEAST_DECAY)
    smaller = jnp.where(loss < sure, smaller, state.decay)
    losses, rate = anneal(state.losses, loss, state.rate, least_rate)
    slower = jnp.maximum(state.rate / 2, least_rate)
    return state._replace(
      epsilon=jnp.where(shrank, epsilon, state.epsilon),
      decay=jnp.where(shrank, jnp.maximum(share, _CARRIED_DECAY), smaller),
      rate=jnp.where(moved, rate, slower),
      losses=jnp.where(shrank, jnp.inf, losses),
    )

  return Attack(
    init,
    step,
    queries // asked,
    FIRST_SUCCESS,
    backward_passes=0,
    norms=("l1", "l2", "linf"),
    label_sets=False,
    forward_passes=asked,
    needs_start=True,
  )
