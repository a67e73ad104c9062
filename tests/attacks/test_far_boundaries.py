"""Boundaries many first-order distances away, as those of saturating victims are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import WIDE, N

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
