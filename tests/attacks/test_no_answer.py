"""A victim that now and then answers NaN: attacks take it for a miss, and go on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import WIDE, N, minimal_distances, points, sizes
from small_victims import Linear, examples, linear

from jaxadv import drive, losses, norms, problem
from jaxadv.attacks import ATTACKS

VICTIM = linear(3, 2, N)
X, LOGITS = points(VICTIM, 4, 40)
LABEL = LOGITS.argmax(1)
SILENT = 0.2  # of the answers


def now_and_then(params, key, x):
  lost = jax.random.bernoulli(key, SILENT)
  return jnp.where(lost, jnp.nan, Linear.logits(params, x))


@pytest.mark.parametrize(
  "method, norm, hyper, within",
  [
    ("fmn", "l1", {"steps": 100}, 1.02),
    ("fmn", "l2", {"steps": 100}, 1.02),
    ("fmn", "linf", {"steps": 100}, 1.02),
    ("ddn", "l2", {"steps": 100}, 1.05),
    ("fab", "l2", {"iterations": 40}, 1.02),
    ("fab", "linf", {"iterations": 40}, 1.02),
    ("deepfool", "l2", {"nudge": 0.01}, 1.03),
    ("carlini_wagner", "l2", {"search_steps": 6, "iterations": 60}, 1.05),
  ],
)
def test_a_lost_answer_costs_little(method, norm, hyper, within):
  threat = problem.Threat(norms.NORMS[norm], box=WIDE)
  bind = problem.bind_random(now_and_then, threat, losses.untargeted())
  solve = drive.solve_batch(drive.driver(ATTACKS[method](**hyper), bind))
  lanes = jax.device_get(solve(tuple(VICTIM), jax.random.key(0), examples(X, LABEL)))
  assert np.isfinite(lanes.best.delta).all()
  assert lanes.best.success.all()
  ratio = sizes(lanes.best.delta, norm) / minimal_distances(VICTIM, LOGITS, norm)
  assert ratio.min() > 0.9999 and np.median(ratio) < within, np.sort(ratio)
  # and is counted
  share = lanes.watch.nan_steps.sum() / lanes.step.sum()
  assert 0.7 * SILENT < share < 1.3 * SILENT


@pytest.mark.parametrize("method", ["fab", "deepfool"])
def test_rivals_are_ranked_by_the_first_answer(method):
  """With two of four rivals tried, about as near as where every answer comes."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2, 60)
  batch = examples(x, logits.argmax(1))
  sizes_of = []
  for silent in (0.0, 0.5):

    def says(params, key, x, silent=silent):
      lost = jax.random.bernoulli(key, silent)
      return jnp.where(lost, jnp.nan, Linear.logits(params, x))

    threat = problem.Threat(norms.L2, box=WIDE)
    bind = problem.bind_random(says, threat, losses.untargeted())
    attack = ATTACKS[method](classes=3)
    solve = drive.solve_batch(drive.driver(attack, bind))
    best = jax.device_get(solve(tuple(victim), jax.random.key(0), batch).best)
    assert best.success.mean() > 0.9
    sizes_of.append(np.where(best.success, best.size, np.nan))
  assert np.nanmean(sizes_of[1] / sizes_of[0] < 1.05) > 0.85
