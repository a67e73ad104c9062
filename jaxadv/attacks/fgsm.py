"""Fast gradient sign method."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxadv.core import STRONGEST, Array, Attack, Trial, unjudged


class FGSMState(NamedTuple):
  candidate: Array
  trial: Trial


def fgsm() -> Attack:
  """delta = -radius * s / size(s), s = sign(grad loss), clipped to the box.

  In linf: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015,
  section 4. With a budget in dB of SNR and the l2 norm, the sign is scaled to exactly
  that SNR: Subramanian et al., Adversarial attacks in sound event classification, 2019.
  Two points are judged: the clean clip, and the one step.
  """

  def init(key, problem):
    return FGSMState(problem.zero, unjudged(problem))

  def step(key, state, problem):
    trial, grad = problem.evaluate_with_grad(state.candidate)
    sign = jnp.sign(grad)
    size = problem.norm.size(sign)
    scale = problem.radius / jnp.where(size > 0, size, 1.0)
    return FGSMState(problem.project(-sign * scale), trial)

  return Attack(init, step, 2, STRONGEST, norms=("l1", "l2", "linf"))
