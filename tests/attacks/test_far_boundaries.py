"""Boundaries many first-order distances away, as those of saturating victims are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import WIDE, N
from small_victims import Deep, deep

from jaxadv import attacks, core, drive, losses, problem
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

# the clip 0 is won where mean(1 - exp(-x)) >= p: first order says that p is as far as
# |x| = p is, and it is -log(1 - p), by 1.4 to 7 times
P = np.float32([0.5, 0.9, 0.97, 0.999])
FARTHEST = -np.log1p(-P.astype(np.float64))


def logits(params, x, p):
  del params
  return jnp.stack([p - jnp.mean(1 - jnp.exp(-x)), jnp.float32(0)])


@pytest.mark.parametrize(
  "attack, norm, within",
  [
    (attacks.carlini_wagner(search_steps=5, iterations=200), "l2", 1.01),
    (attacks.carlini_wagner_linf(steps=2000), "linf", 1.01),
    (attacks.ddn(steps=200), "l2", 1.01),
    (attacks.fmn(steps=200), "l2", 1.01),
    (attacks.fmn(steps=200), "linf", 1.01),
    (attacks.deepfool(steps=50), "l2", 1.03),
  ],
)
def test_minimum_norm_attacks_go_as_far_as_they_must(attack, norm, within):
  threat = Threat(NORMS[norm], box=WIDE)
  bind = problem.bind(logits, threat, losses.untargeted(losses.margin_loss))
  stack = core.examples(np.zeros((len(P), N)), np.zeros(len(P), int), other=(P,))
  solve = drive.solve_batch(drive.driver(attack, bind))
  lanes = solve(None, jax.random.key(0), stack)
  optimum = FARTHEST * (np.sqrt(N) if norm == "l2" else 1)
  ratio = np.asarray(lanes.best.size) / optimum
  assert lanes.best.success.all()
  assert ratio.min() > 0.9999 and ratio.max() < within, ratio


@pytest.fixture(scope="module")
def sizes():
  """norm, method, **hyper -> how far it goes for 8 clips' least likely classes [8].

  Of a random network of five hidden layers. All must be reached.
  """
  victim = deep(256)
  x = np.float32(np.random.default_rng(1).normal(size=(8, 256)))
  clean = Deep.logits(victim, x)
  stack = core.examples(x, clean.argmax(1), clean.argmin(1))

  @functools.cache
  def reached(norm, method, **hyper):
    threat = Threat(NORMS[norm], box=(-20.0, 20.0))
    bind = problem.bind(Deep.logits, threat, losses.targeted(losses.margin_loss))
    solve = drive.solve_batch(drive.driver(attacks.ATTACKS[method](**hyper), bind))
    best = solve(victim, jax.random.key(0), stack).best
    assert best.success.all()
    return np.asarray(best.size)

  return reached


def mean_ratio(sizes, others):
  return np.exp(np.log(sizes / others).mean())


@pytest.mark.parametrize(
  "method, norm", [("fmn", "l1"), ("fmn", "l2"), ("fmn", "linf"), ("ddn", "l2")]
)
def test_far_targets_are_as_near_in_few_steps_as_in_many(sizes, method, norm):
  # once 20 times as far: steps grew with the ball, and the ball with every failure
  few, many = (sizes(norm, method, steps=steps) for steps in (100, 1000))
  assert mean_ratio(few, many) < 1.2, few / many


@pytest.mark.parametrize(
  "method, hyper, norm",
  [
    ("carlini_wagner", {"search_steps": 9, "iterations": 50}, "l2"),
    ("carlini_wagner_linf", {"steps": 1000, "iterations": 50}, "linf"),
    # five of eight, before the rate doubled
    ("carlini_wagner_linf", {"steps": 280, "iterations": 100}, "linf"),
    # six of eight, when after the doublings the rate stayed as it was
    ("carlini_wagner_linf", {"steps": 280, "iterations": 200, "doublings": 1}, "linf"),
  ],
)
def test_a_penalty_reaches_far_targets(sizes, method, hyper, norm):
  # rates used to shrink with what was left, and the boundary came no nearer
  found, other = sizes(norm, method, **hyper), sizes(norm, "fmn", steps=1000)
  assert mean_ratio(found, other) < 1.5, found / other
