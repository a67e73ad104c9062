"""DeepFool against closed forms on linear victims."""

import numpy as np
import pytest
from closed_forms import WIDE, N, fooled, minimal_distances, points, sizes, solve
from small_victims import Linear, examples, linear

from jaxadv import attacks
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

EACH_NORM = pytest.mark.parametrize("norm", list(NORMS))


@EACH_NORM
def test_deepfool_reaches_the_nearest_boundary_in_one_step(norm):
  """On a linear victim: the distance, its overshoot, and the nudge; two judgements."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2)
  label = logits.argmax(1)
  overshoot, nudge = 0.02, 1e-4
  lanes = solve(
    attacks.deepfool(overshoot=overshoot, nudge=nudge),
    Threat(NORMS[norm], box=WIDE),
    victim,
    examples(x, label),
  )
  expected = (1 + overshoot) * (minimal_distances(victim, logits, norm) + nudge)
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


ORACLE = test_deepfool_reaches_the_nearest_boundary_in_one_step
