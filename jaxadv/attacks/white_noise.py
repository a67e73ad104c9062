"""White Gaussian noise that fills the budget: the baseline of any attack."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.core import STRONGEST, Array, Attack, Trial, unjudged


class WhiteNoiseState(NamedTuple):
  candidate: Array
  trial: Trial


def white_noise() -> Attack:
  """delta = radius * n / size(n), n ~ N(0, 1) on the mask, clipped to the box.

  With a budget in dB of SNR and the l2 norm: Subramanian et al., Adversarial attacks in
  sound event classification, 2019, the white-noise baseline (20 dB).
  """

  def init(key, problem):
    noise = jax.random.normal(key, problem.zero.shape) * problem.example.mask
    size = problem.norm.size(noise)
    scale = problem.radius / jnp.where(size > 0, size, 1.0)
    return WhiteNoiseState(problem.project(noise * scale), unjudged(problem))

  def step(key, state, problem):
    return state._replace(trial=problem.evaluate(state.candidate))

  return Attack(init, step, 1, STRONGEST, backward_passes=0, norms=("l1", "l2", "linf"))
