"""Box, mask, ball and budgets of a Problem, against numpy."""

import jax
import numpy as np
import pytest
from small_victims import SIZE, Curved, curved, examples

from jaxadv import losses, problem
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

RNG = np.random.default_rng(0)
N = 12
X = RNG.uniform(-1, 1, N).astype(np.float32)
MASK = np.arange(N) % 3 > 0
DELTA = RNG.normal(size=N).astype(np.float32)
VICTIM = curved(1)


def bound(norm="l2", radius=float("inf"), budget="absolute", box=(-1.0, 1.0)):
  example = jax.tree.map(lambda v: v[0], examples(X[None], 0, mask=MASK))
  threat = problem.Threat(NORMS[norm], radius, budget, box)
  return problem.bind(Curved.logits, threat, losses.untargeted())(
    tuple(VICTIM), None, example
  )


@pytest.mark.parametrize("box", [(-1.0, 1.0), (-2.0, 1.5)])
def test_fit_is_the_nearest_perturbation_inside_mask_and_box(box):
  nearest = np.clip(DELTA, box[0] - X, box[1] - X) * MASK
  np.testing.assert_allclose(bound(box=box).fit(DELTA), nearest, atol=1e-6)


@pytest.mark.parametrize(
  "norm, radius", [("l0", 3.0), ("l1", 0.5), ("l2", 0.5), ("linf", 0.5)]
)
def test_project_is_inside_ball_box_and_mask(norm, radius):
  outside = 2 * DELTA * MASK + 1e-3  # a little of it beyond the mask too
  delta = np.asarray(bound(norm, radius).project(outside), np.float64)
  assert 0.1 * radius < SIZE[norm](delta) <= radius * (1 + 1e-5)
  assert np.abs(X + delta).max() <= 1 + 1e-6 and (delta[~MASK] == 0).all()


def test_logits_are_of_the_masked_perturbation_and_so_is_the_gradient():
  said = bound().logits(DELTA)
  expected = Curved.logits(VICTIM, np.float64(X) + DELTA * MASK)
  np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5)
  _, grad = bound().evaluate_with_grad(0.1 * DELTA)
  assert (np.asarray(grad)[~MASK] == 0).all() and (np.asarray(grad)[MASK] != 0).all()


def test_an_l0_budget_may_be_a_share_of_the_samples_but_no_snr():
  radius = bound("l0", 0.25, "relative").radius
  np.testing.assert_allclose(radius, 0.25 * MASK.sum(), rtol=1e-6)
  with pytest.raises(InputError, match="give an absolute or a relative radius"):
    bound("l0", 20.0, "snr_db")


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_budgets(norm):
  exact = X.astype(np.float64)
  relative = bound(norm, 0.3, "relative").radius
  np.testing.assert_allclose(relative, 0.3 * SIZE[norm](exact * MASK), rtol=1e-5)
  assert bound(norm, 0.3).radius == np.float32(0.3)
  # 20 dB is a tenth of the amplitude; a corner of the linf ball has |mask| of it
  corner = np.sqrt(MASK.sum()) if norm == "linf" else 1
  quiet = bound(norm, 20.0, "snr_db").radius
  np.testing.assert_allclose(quiet, 0.1 * SIZE["l2"](exact) / corner, rtol=1e-5)


@pytest.mark.parametrize(
  "norm, radius, used", [("l1", 0.5, MASK.sum() ** 0.5), ("l2", 4, 8), ("linf", 2, 8)]
)
def test_random_starts_are_all_over_ball_box_and_mask(norm, radius, used):
  """In l1 in about the square root of the coordinates each."""
  here = bound(norm, float(radius))
  keys = jax.random.split(jax.random.key(3), 500)
  starts = np.asarray(jax.jit(jax.vmap(here.random_start))(keys), np.float64)
  assert max(map(SIZE[norm], starts)) <= radius * (1 + 1e-5)
  assert np.abs(X + starts).max() <= 1 + 1e-6
  assert (starts[:, ~MASK] == 0).all()
  assert (starts[:, MASK].std(0) > 0.02 * radius).all()
  np.testing.assert_allclose((starts != 0).sum(1).mean(), used, rtol=0.1)
