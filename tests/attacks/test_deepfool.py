"""DeepFool against closed forms on linear victims."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import (
  WIDE,
  N,
  fooled,
  minimal_distances,
  points,
  sizes,
  solve,
  towards_targets,
)
from small_victims import Curved, Linear, curved, examples, linear

from jaxadv import attacks, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

EACH_NORM = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])


@EACH_NORM
def test_deepfool_reaches_the_nearest_boundary_in_one_step(norm):
  """On a linear victim: the distance, its overshoot, and the nudge; two judgements."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2)
  label = logits.argmax(1)
  overshoot, nudge = 0.02, 1.0
  lanes = solve(
    attacks.deepfool(overshoot=overshoot, nudge=nudge),
    Threat(NORMS[norm], box=WIDE),
    victim,
    examples(x, label),
  )
  expected = (1 + overshoot) * (1 + nudge / 100)
  expected *= minimal_distances(victim, logits, norm)
  np.testing.assert_allclose(sizes(lanes.best.delta, norm), expected, 2e-4, 2e-6)
  assert (fooled(victim, x, lanes.best.delta) != label).all()
  assert (lanes.step == 2).all()


def test_deepfool_keeps_to_its_candidate_classes():
  """With one rival it goes to the runner-up, though another boundary is nearer."""
  weights = np.zeros((3, N), np.float32)
  weights[1, 0], weights[2, 1] = 0.1, 10.0
  victim = Linear(weights, np.float32([0, -0.1, -1.0]))
  stack = examples(np.zeros((1, N)), 0)
  threat = Threat(NORMS["l2"], box=WIDE)
  near = solve(attacks.deepfool(classes=3), threat, victim, stack).best.delta[0]
  far = solve(attacks.deepfool(classes=2), threat, victim, stack).best.delta[0]
  np.testing.assert_allclose([near[1], far[0]], [0.1, 1.0], rtol=0.03)


def test_deepfool_comes_back_from_where_the_box_stopped_it():
  """Of margin 1 - 0.001 x, but for a dip around 0.92, in a box that ends at 1."""

  class Dip(NamedTuple):
    depth: np.ndarray

    @staticmethod
    def logits(params, x):
      dip = params[0] * jnp.maximum(0.1 - jnp.abs(x[0] - 0.92), 0.0)
      return jnp.stack([1 - 1e-3 * x[0] - dip, jnp.zeros(())])

  victim = Dip(np.float32(12.0))
  threat, stack = Threat(NORMS["l2"]), examples(np.zeros((1, 1)), 0)
  best = solve(attacks.deepfool(overshoot=0.0), threat, victim, stack).best
  # the first step is 1000 long: what the box cut off is not to be walked back
  assert best.success.all()
  assert 0.84 < best.delta[0, 0] < 1.0


def towards_by_hand(victim, x, target):
  """Judged points' deltas, in float64: each to the boundary with the largest other."""
  weights, total, path = np.float64(victim.weights), np.zeros(len(x)), []
  while True:
    path.append(1.02 * total)
    logits = weights @ (x + path[-1]) + victim.offset
    if logits.argmax() == target:
      return path
    w = weights[target] - weights[logits.argmax()]
    gap, length = logits.max() - logits[target], np.linalg.norm(w)
    nudge = 1e-2 * max(np.linalg.norm(total), gap / length / 100)
    total = total + (gap / length + nudge) * w / length


def test_targeted_deepfool_goes_to_the_boundary_of_the_target():
  """Exact for two classes, in two judgements; never below scipy's optimum for four."""
  overshoot, nudge = 0.02, 1e-4
  attack, threat = attacks.deepfool(), Threat(NORMS["l2"], box=WIDE)
  run = {"objective": losses.targeted()}
  victim = linear(1, 2, N)
  x, logits = points(victim, 2)
  label = logits.argmax(1)
  lanes = solve(attack, threat, victim, examples(x, label, 1 - label), **run)
  expected = (1 + overshoot) * (1 + nudge) * minimal_distances(victim, logits, "l2")
  np.testing.assert_allclose(sizes(lanes.best.delta, "l2"), expected, 2e-4, 2e-6)
  assert (lanes.step == 2).all()
  victim, stack, optimum = towards_targets()
  lanes = solve(attack, threat, victim, stack, **run)
  assert (fooled(victim, stack.x, lanes.best.delta) == stack.target).all()
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert ratio.min() > 0.9999 and np.median(ratio) < 1.1
  each = zip(np.float64(stack.x), stack.target, strict=True)
  paths = [towards_by_hand(victim, x, target) for x, target in each]
  np.testing.assert_array_equal(lanes.step, [len(path) for path in paths])
  ends = np.array([path[-1] for path in paths])
  np.testing.assert_allclose(lanes.best.delta, ends, atol=1e-4)
  assert (lanes.step > 2).sum() > 5  # more than one boundary on the way


def subramanian_by_hand(victim, x, label, steps):
  """SED's DeepFool in float64: the deltas that it judges, until the label changes."""
  readout, hidden = np.float64(victim.readout), np.float64(victim.hidden)
  total, delta, path = np.zeros(len(x)), np.zeros(len(x)), []
  for _ in range(steps + 1):
    inner = np.tanh(hidden @ (x + delta))
    logits, jacobian = readout @ inner, (readout * (1 - inner**2)) @ hidden
    path.append(delta)
    if logits.argmax() != label:
      break
    pert, w = np.zeros(len(logits)), jacobian - jacobian[label]
    for k in range(1, len(logits)):
      if k != label:
        pert[k] = (abs(logits[k] - logits[label]) + 0.1) / np.linalg.norm(w[k])
    k = pert.argmax()
    total = total + pert[k] * w[k] / np.linalg.norm(w[k])
    delta = np.clip(x + 1.02 * total, -1, 1) - x
  return path


def test_the_subramanian_variant_takes_the_steps_of_its_authors():
  """To the FARTHEST boundary; and class 0 is never a rival."""
  victim = curved(4)
  x = np.random.default_rng(5).uniform(-1, 1, (60, 12)).astype(np.float32)
  label = Curved.logits(victim, x.T).argmax(0)
  paths = [
    subramanian_by_hand(victim, np.float64(c), y, 200)
    for c, y in zip(x, label, strict=True)
  ]
  short = [len(path) < 8 for path in paths]  # longer ones leave by rounding
  assert sum(short) >= 40 and max(map(len, paths)) > 2
  threat, stack = Threat(NORMS["l2"]), examples(x, label)
  attack = attacks.deepfool(variant="subramanian", nudge=0.1)  # 1e-5 would not show
  lanes = solve(attack, threat, victim, stack)
  for at in np.flatnonzero(short):
    assert lanes.step[at] == len(paths[at])
    np.testing.assert_allclose(lanes.best.delta[at], paths[at][-1], atol=1e-4)
  near = solve(attacks.deepfool(), threat, victim, stack).best.size
  assert np.median(lanes.best.size / near) > 1.5


ORACLE = test_deepfool_reaches_the_nearest_boundary_in_one_step
