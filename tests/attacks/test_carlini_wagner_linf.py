"""Carlini and Wagner's Linf attack against closed forms on linear victims."""

import functools

import numpy as np
import pytest
from closed_forms import (
  RESOLVED,
  N,
  fooled,
  minimal_distances,
  points,
  sizes,
  solve,
  targeted_minima,
  towards_targets,
)
from small_victims import Linear, examples, linear, solver

from jaxadv import attacks, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


@functools.cache
def brief():
  attack = attacks.carlini_wagner_linf(iterations=100, steps=1500)
  return solver(attack, Threat(NORMS["linf"]), Linear)


@pytest.mark.parametrize("scale", [1, 1000])
def test_carlini_wagner_linf_reaches_the_minimal_distance(scale):
  """Within 1% on at least 99% of points, never below it, at any scale of the box."""
  victim = linear(3, 2, N)
  x, logits = points(victim, 4, 100)
  optimum = minimal_distances(victim, logits, "linf")
  far = optimum > RESOLVED / np.sqrt(N)
  x, label, optimum = x[far] / scale, logits.argmax(1)[far], optimum[far] / scale
  victim = Linear(victim.weights * scale, victim.offset)
  lanes = brief()(victim, examples(x, label))
  ratio = sizes(lanes.best.delta, "linf") / optimum
  assert len(x) > 75 and lanes.best.success.all()
  assert ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_targeted_carlini_wagner_linf_reaches_the_minimum_of_a_linear_program():
  victim, stack, _ = towards_targets()
  attack = attacks.carlini_wagner_linf(iterations=100, steps=1500)
  threat = Threat(NORMS["linf"], box=(-2.0, 2.0))
  lanes = solve(attack, threat, victim, stack, objective=losses.targeted())
  ratio = sizes(lanes.best.delta, "linf") / targeted_minima(victim, stack, "linf")
  assert (fooled(victim, stack.x, lanes.best.delta) == stack.target).all()
  assert ratio.min() > 0.9999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_without_refinement_the_bound_is_as_coarse_as_it_shrinks():
  """A bound half as large is out of reach, and what lies between is not tried."""
  victim = linear(3, 2, N)
  x, logits = points(victim, 4, 40)
  stack, optimum = (
    examples(x, logits.argmax(1)),
    minimal_distances(victim, logits, "linf"),
  )
  mean = {}
  for refinements in (0, 5):
    attack = attacks.carlini_wagner_linf(
      iterations=100, steps=1500, decrease=0.5, refinements=refinements
    )
    lanes = solver(attack, Threat(NORMS["linf"]), Linear)(victim, stack)
    mean[refinements] = (sizes(lanes.best.delta, "linf") / optimum).mean()
  assert mean[5] < 1.02 < 1.05 < mean[0] < 2.0, mean


ORACLE = test_carlini_wagner_linf_reaches_the_minimal_distance
