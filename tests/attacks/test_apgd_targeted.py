"""Auto-PGD towards one class after another, against closed forms on linear victims."""

import numpy as np
import pytest
from closed_forms import WIDE, N, fooled, minimal_distances, points, solve
from scipy import special
from small_victims import Linear, examples, linear

from jaxadv import attacks, core
from jaxadv.errors import InputError
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_apgd_targeted_succeeds_just_where_a_boundary_is_within_reach(norm):
  """Whatever the class behind it: half of the radii are 3% too small."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2, 60)
  label = logits.argmax(1)
  share = np.where(np.arange(60) % 2, 1.03, 0.97)
  radius = share * minimal_distances(victim, logits, norm)
  wrong = np.arange(60) % 20 == 0  # what needs no attack
  label[wrong] = (label[wrong] + 1) % 5
  attack, threat = attacks.apgd_targeted(steps=40), Threat(NORMS[norm], box=WIDE)
  lanes = solve(attack, threat, victim, examples(x, label), radius)
  delta = np.float64(lanes.best.delta)
  hit = fooled(victim, x, delta) != label
  assert (hit == (wrong | (share > 1))).all()
  assert (lanes.best.success == hit).all()
  # the clean clip, and a run for each of the four other classes
  assert (lanes.step[~hit] == 1 + 4 * 41).all()
  assert (lanes.step[wrong] == 1).all() and (delta[wrong] == 0).all()
  # the loss is the problem's, whatever the runs go down
  logits = (x.astype(np.float64) + delta) @ victim.weights.T + victim.offset
  expected = special.log_softmax(logits, 1)[np.arange(60), label]
  np.testing.assert_allclose(lanes.best.loss, expected, 1e-4, 1e-5)


@pytest.mark.parametrize("targets, won", [(1, False), (2, True)])
def test_apgd_targeted_goes_to_the_largest_clean_logits(targets, won):
  """Class 1 comes second and is far away, class 2 comes third and is near."""
  weights = np.zeros((4, N), np.float32)
  weights[1, 0], weights[2, 1] = 0.1, 10.0
  victim = Linear(weights, np.float32([0, -0.1, -1.0, -2.0]))
  stack, threat = examples(np.zeros((1, N)), 0), Threat(NORMS["l2"], 0.2, box=WIDE)
  attack = attacks.apgd_targeted(steps=10, targets=targets)
  lanes = solve(attack, threat, victim, stack, goal=core.STRONGEST)
  assert lanes.best.success[0] == won
  assert (lanes.best.delta[0, 1] > 0.1) == won
  assert lanes.step[0] == 1 + targets * 11


def test_apgd_targeted_needs_four_classes():
  victim, stack = linear(1, 3, N), examples(np.zeros((1, N)), 0)
  with pytest.raises(InputError, match="needs 4 classes"):
    solve(attacks.apgd_targeted(), Threat(NORMS["l2"], 0.1), victim, stack)


ORACLE = test_apgd_targeted_succeeds_just_where_a_boundary_is_within_reach
