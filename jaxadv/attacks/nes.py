"""Query-limited attack: gradients of a victim that only gives scores."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Problem, Trial, unjudged


class NESState(NamedTuple):
  candidate: Array
  trial: Trial
  gradient: Array  # with momentum
  rate: Array  # [], of the radius
  losses: Array  # [plateau], the last ones; inf: not yet


def antithetic(key: Array, mask: Array, samples: int) -> Array:
  """Gaussian noise inside the mask, then its mirror image. [...] -> [samples, ...]."""
  half = jax.random.normal(key, (samples // 2, *mask.shape)) * mask
  return jnp.concatenate([half, -half])


def slope(noise: Array, losses: Array, sigma: Array) -> Array:
  """mean of losses_i * noise_i / sigma, of the losses at delta + sigma * noise_i.

  noise: [S, ...] of `antithetic`. losses: [S]. -> [...]. Its expectation is the
  gradient of the loss smoothed by Gaussian noise; for a quadratic loss, the gradient.
  A pair in which a loss is not finite is left out; of none left the slope is NaN.
  """
  half = len(losses) // 2
  # pairs first: the loss itself, far larger than its differences, cancels exactly
  rise = (losses[:half] - losses[half:]) / (2 * jnp.maximum(sigma, 1e-30))
  known = jnp.isfinite(rise)
  return jnp.tensordot(jnp.where(known, rise, 0.0), noise[:half], 1) / jnp.sum(known)


def per_coordinate(problem: Problem) -> Array:
  """The size in each coordinate of a perturbation that fills the ball. -> []."""
  corner = problem.norm.size(problem.example.mask)
  return problem.radius / jnp.maximum(corner, 1.0)


def anneal(losses: Array, loss: Array, rate: Array, least: float):
  """Halves the rate where the loss rose over the last len(losses) steps, and forgets.

  -> losses [plateau], rate [].
  """
  losses = jnp.append(losses[1:], loss)
  rose = losses[-1] > losses[0]
  halved = jnp.maximum(rate / 2, least)
  return jnp.where(rose, jnp.inf, losses), jnp.where(rose, halved, rate)


def nes(
  *,
  queries: int = 10_000,
  samples: int = 50,
  sigma: float = 0.02,
  learning_rate: float = 0.2,
  least_rate: float = 1e-3,
  momentum: float = 0.9,
  plateau: int = 5,
) -> Attack:
  """delta <- project(delta - rate * radius * direction(g)), g an average of estimates.

  queries: of the victim, at most; a step asks samples + 1: its point and, around it,
    Gaussian noise and its mirror image, from whose losses (`slope`) follows
    g <- momentum * g + (1 - momentum) * estimate.
  sigma, learning_rate, least_rate: as shares of the radius; sigma of its size in each
    coordinate. The published 1e-3, 1e-2 and 5e-5 are shares of the range of the box, at
    a radius of 0.05 of it in linf. What is asked around a point may leave ball and box
    by about sigma: clipped, the estimate would be biased.
  plateau: the rate halves where the loss rose over so many steps.
  Score-based: no backward pass. Ilyas, Engstrom, Athalye and Lin, Black-box Adversarial
  Attacks with Limited Queries and Information, ICML 2018, section 3.1; constants of the
  authors' code.
  """
  require(samples >= 2 and samples % 2 == 0, "samples", samples, "an even number")
  require(queries > samples, "queries", queries, f"more than {samples} (samples)")
  require(sigma > 0, "sigma", sigma, "more than 0")
  require(learning_rate > 0, "learning_rate", learning_rate, "more than 0")
  expected = f"0 to {learning_rate} (learning_rate)"
  require(0 <= least_rate <= learning_rate, "least_rate", least_rate, expected)
  require(0 <= momentum < 1, "momentum", momentum, "0 or more and less than 1")
  require(plateau >= 2, "plateau", plateau, "at least 2")

  def init(key, problem):
    losses = jnp.full(plateau, jnp.inf)
    start = (problem.zero, unjudged(problem), problem.zero)
    return NESState(*start, jnp.float32(learning_rate), losses)

  def step(key, state, problem):
    noise = antithetic(key, problem.example.mask, samples)
    width = sigma * per_coordinate(problem)
    asked = jnp.concatenate([problem.zero[None], width * noise]) + state.candidate
    logits = jax.vmap(problem.logits)(asked)
    trials = jax.vmap(problem.judge)(asked, logits)
    trial = problem.judge(state.candidate, logits[0])
    trial, estimate = problem.checked(trial, slope(noise, trials.loss[1:], width))
    gradient = momentum * state.gradient + (1 - momentum) * estimate
    losses, rate = anneal(state.losses, trial.loss, state.rate, least_rate)
    move = rate * problem.radius * problem.norm.direction(gradient)
    candidate = problem.project(state.candidate - move)
    return NESState(candidate, trial, gradient, rate, losses)

  return Attack(
    init,
    step,
    queries // (samples + 1),
    FIRST_SUCCESS,
    backward_passes=0,
    norms=("l1", "l2", "linf"),
    forward_passes=samples + 1,
  )
