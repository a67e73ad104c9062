"""White noise that fills the budget: the baseline of any attack."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxadv.core import STRONGEST, Array, Attack, Trial, unjudged


class WhiteNoiseState(NamedTuple):
  candidate: Array
  trial: Trial


def white_noise() -> Attack:
  """delta = radius * n / size(n), n uniform in the norm's ball, clipped to the box.

  White in every norm: in l2 Gaussian, with a budget in dB of SNR that of Subramanian et
  al., Adversarial attacks in sound event classification, 2019 (20 dB); in linf uniform,
  which is louder in the same ball; in l1 of Laplace's distribution. Of budgets per
  frame, the loudest frame's is filled.
  """

  def init(key, problem):
    noise = problem.norm.sample(key, problem.example.mask)
    size = problem.norm.size(noise)
    scale = problem.radius / jnp.where(size > 0, size, 1.0)
    return WhiteNoiseState(problem.project(noise * scale), unjudged(problem))

  def step(key, state, problem):
    return state._replace(trial=problem.evaluate(state.candidate))

  return Attack(init, step, 1, STRONGEST, backward_passes=0, norms=("l1", "l2", "linf"))
