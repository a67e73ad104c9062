"""DDN against closed forms, and its paper's algorithm in float64."""

import numpy as np
from closed_forms import N, minimal_distances, points, sizes, solve, towards_targets
from small_victims import Linear, examples, linear, solver

from jaxadv import attacks, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

L2 = Threat(NORMS["l2"], box=(-2.0, 2.0))


def test_ddn_reaches_the_minimal_distance_at_any_scale():
  """Within 1% on at least 99% of points, and never below it. Two classes."""
  victim = linear(3, 2, N)
  x, logits = points(victim, 4, 100)
  optimum = minimal_distances(victim, logits, "l2")
  far = optimum > 1e-3
  x, label, optimum = x[far], logits.argmax(1)[far], optimum[far]
  # not enough to come all the way down from a norm of 1
  run = solver(attacks.ddn(steps=100), L2, Linear)
  for scale in (1, np.float32(2**-10)):
    quiet = Linear(victim.weights / scale, victim.offset)
    lanes = run(quiet, examples(x * scale, label))
    ratio = sizes(lanes.best.delta, "l2") / optimum / scale
    assert len(x) > 90 and lanes.best.success.all()
    assert ratio.min() > 0.999
    assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_targeted_ddn_reaches_the_minimal_distance():
  victim, stack, optimum = towards_targets()
  # cross-entropy points away from all rivals at once: 5% too far on this victim
  margin = losses.targeted(losses.margin_loss)
  lanes = solve(attacks.ddn(steps=300), L2, victim, stack, objective=margin)
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert lanes.best.success.all() and ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def by_the_paper(victim, x, label, steps, box):
  """Size of the smallest success of algorithm 1, in float64; inf: none."""
  weights = np.float64(victim.weights)
  delta, norm, smallest = np.zeros(len(x)), 1.0, np.inf
  for k in range(steps + 1):
    logits = weights @ (x + delta) + victim.offset
    success = logits.argmax() != label
    if success:
      smallest = min(smallest, np.linalg.norm(delta))
    softmax = np.exp(logits - logits.max())
    rise = weights.T @ (softmax / softmax.sum() - np.eye(len(logits))[label])
    alpha = 0.01 + 0.99 * (1 + np.cos(np.pi * k / steps)) / 2
    delta = delta + alpha * rise / np.linalg.norm(rise)
    norm *= 0.95 if success else 1.05
    delta = np.clip(x + norm * delta / np.linalg.norm(delta), *box) - x
  return smallest


def test_ddn_in_absolute_units_is_the_algorithm_of_the_paper():
  victim = linear(1, 4, N)
  x, box = 1.9 * points(victim, 2, 100)[0], (-1, 1)
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  attack = attacks.ddn(steps=20, init_norm=1.0, relative=False)
  lanes = solve(attack, L2._replace(box=box), victim, examples(x, label))
  expected = [
    by_the_paper(victim, *clip, 20, box) for clip in zip(x, label, strict=True)
  ]
  size = np.where(lanes.best.success, lanes.best.size, np.inf)
  # a step whose logits tie may go either way in float32
  assert np.isclose(size, expected, rtol=1e-3).mean() > 0.95


ORACLE = test_ddn_reaches_the_minimal_distance_at_any_scale
