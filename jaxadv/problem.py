"""From a victim and a threat to the Problem of one example and one step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.core import Bind, Example, Problem
from jaxadv.losses import Objective
from jaxadv.norms import L2, Norm

Array = jax.Array


def _absolute(norm, radius, example):
  return jnp.float32(radius)


def _relative(norm, radius, example):
  return radius * norm.size(example.x * example.mask)


def _snr_db(norm, radius, example):
  signal = L2.size(example.x)
  count = jnp.sum(example.mask)
  return norm.within_l2(signal * 10.0 ** (-radius / 20.0), count)


BUDGETS = {"absolute": _absolute, "relative": _relative, "snr_db": _snr_db}


class Threat(NamedTuple):
  """What the attacker may do.

  norm, radius, budget: size(delta) <= radius ("absolute"), <= radius * size(x)
    ("relative"), or such that SNR = 10 log10(|x|^2 / |delta|^2) >= radius dB
    ("snr_db": the largest ball of the norm in which that is certain).
  box: the range of x + delta; x must be within it.
  """

  norm: Norm
  radius: float = float("inf")
  budget: str = "absolute"
  box: tuple[float, float] = (-1.0, 1.0)

  def radius_of(self, example: Example) -> Array:
    """The radius for one example, in the norm. Example -> []."""
    return BUDGETS[self.budget](self.norm, self.radius, example)


def bind(logits_fn: Callable, threat: Threat, objective: Objective) -> Bind:
  """params, key, example -> Problem. `logits_fn(params, x [...]) -> [K]`.

  The key is there for binds that are random (expectation over transforms).
  """

  def problem(params, key, example):
    del key
    return Problem(
      example,
      threat.norm,
      threat.radius_of(example),
      threat.box,
      objective,
      lambda delta: logits_fn(params, example.x + delta * example.mask),
    )

  return problem
