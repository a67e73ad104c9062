"""FGSM against the optimum of box, mask and ball."""

import numpy as np
import pytest
from closed_forms import N, binary_margins, solve
from small_victims import examples, linear

from jaxadv import attacks, core
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_linf_attacks_find_the_optimum_of_box_mask_and_ball(method):
  """linf, box and mask act on each coordinate alone, so the worst point is known."""
  victim = linear(9, 2, N)
  rng = np.random.default_rng(10)
  x = rng.uniform(-1, 1, (50, N)).astype(np.float32)
  mask = rng.uniform(size=x.shape) < 0.7
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  stack = examples(x, label, mask=mask)
  w, _ = binary_margins(victim, stack)
  attack = attacks.pgd(steps=50) if method == "pgd" else attacks.fgsm()
  lanes = solve(attack, Threat(NORMS["linf"], 0.3), victim, stack, goal=core.STRONGEST)
  worst = (np.clip(x - 0.3 * np.sign(w), -1, 1) - x) * mask
  np.testing.assert_allclose(lanes.best.delta, worst, atol=1e-6)


ORACLE = test_linf_attacks_find_the_optimum_of_box_mask_and_ball
