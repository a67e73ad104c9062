"""A victim that now and then answers NaN: attacks take it for a miss, and go on."""

import jax
import numpy as np
import pytest
from closed_forms import WIDE, N, fooled, minimal_distances, points, sizes
from small_victims import examples, linear, now_and_then

from jaxadv import drive, losses, norms, problem
from jaxadv.attacks import ATTACKS

VICTIM = linear(3, 2, N)
X, LOGITS = points(VICTIM, 4, 40)
LABEL = LOGITS.argmax(1)
SILENT = 0.2  # of the answers


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
  bind = problem.bind_random(now_and_then(SILENT), threat, losses.untargeted())
  solve = drive.solve_batch(drive.driver(ATTACKS[method](**hyper), bind))
  lanes = jax.device_get(solve(tuple(VICTIM), jax.random.key(0), examples(X, LABEL)))
  assert np.isfinite(lanes.best.delta).all()
  assert lanes.best.success.all()
  ratio = sizes(lanes.best.delta, norm) / minimal_distances(VICTIM, LOGITS, norm)
  assert ratio.min() > 0.9999 and np.median(ratio) < within, np.sort(ratio)
  # and is counted
  share = lanes.watch.nan_steps.sum() / lanes.step.sum()
  assert 0.7 * SILENT < share < 1.3 * SILENT


@pytest.mark.parametrize(
  "method, norm, hyper",
  [
    ("pgd", "l2", {"steps": 20}),
    ("apgd", "linf", {"steps": 20}),
    ("bim", "linf", {"steps": 20}),
    ("square", "linf", {"steps": 100}),
    ("nes", "l2", {"queries": 1020, "samples": 50}),
    ("jsma", "l0", {"steps": 40}),
    ("lbfgs", "l2", {"iterations": 20}),
    ("carlini_wagner_linf", "linf", {"steps": 300, "iterations": 50}),
    ("carlini_wagner_l0", "l0", {"steps": 400, "iterations": 40}),
  ],
)
def test_a_success_within_reach_is_found_all_the_same(method, norm, hyper):
  """In balls of twice the largest minimal distance."""
  radius = 12 if norm == "l0" else 2 * minimal_distances(VICTIM, LOGITS, norm).max()
  threat = problem.Threat(norms.NORMS[norm], radius, box=(-3.0, 3.0))
  bind = problem.bind_random(now_and_then(SILENT), threat, losses.untargeted())
  solve = drive.solve_batch(drive.driver(ATTACKS[method](**hyper), bind))
  lanes = solve(tuple(VICTIM), jax.random.key(0), examples(X, LABEL))
  best = jax.device_get(lanes.best)
  assert np.isfinite(best.delta).all()
  assert best.success.all(), best.success.mean()
  assert (fooled(VICTIM, X, best.delta) != LABEL).all()


@pytest.mark.parametrize("method", ["fab", "deepfool"])
def test_rivals_are_ranked_by_the_first_answer(method):
  """With two of four rivals tried, about as near as where every answer comes."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2, 60)
  batch = examples(x, logits.argmax(1))
  sizes_of = []
  for silent in (0.0, 0.5):
    threat = problem.Threat(norms.L2, box=WIDE)
    bind = problem.bind_random(now_and_then(silent), threat, losses.untargeted())
    attack = ATTACKS[method](classes=3)
    solve = drive.solve_batch(drive.driver(attack, bind))
    best = jax.device_get(solve(tuple(victim), jax.random.key(0), batch).best)
    assert best.success.mean() > 0.9
    sizes_of.append(np.where(best.success, best.size, np.nan))
  assert np.nanmean(sizes_of[1] / sizes_of[0] < 1.05) > 0.85
