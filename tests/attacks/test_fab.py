"""FAB against closed forms and scipy on linear victims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import (
  RESOLVED,
  WIDE,
  N,
  binary_margins,
  fooled,
  minimal_distances,
  points,
  sizes,
  solve,
  towards_targets,
)
from scipy import optimize
from small_victims import DUAL, Curved, Linear, curved, examples, linear

from jaxadv import attacks, drive, losses, problem
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

EACH_NORM = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])


@pytest.mark.parametrize(
  "norm, targets", [("l1", 0), ("l2", 0), ("linf", 0), ("l2", 3)]
)
def test_fab_reaches_the_minimal_distance(norm, targets):
  """Within 0.1%, never below it; without the final search eta alone costs 0.5%."""
  victim = linear(3, 4, N)
  x, logits = points(victim, 4, 200)
  optimum, label = minimal_distances(victim, logits, norm), logits.argmax(1)
  far = optimum > RESOLVED
  lanes = solve(
    attacks.fab(iterations=10, targets=targets),
    Threat(NORMS[norm], box=WIDE),
    victim,
    examples(x[far], label[far]),
  )
  ratio = sizes(lanes.best.delta, norm) / optimum[far]
  assert far.sum() > 120
  assert lanes.best.success.all()
  assert (fooled(victim, x[far], lanes.best.delta) != label[far]).all()
  assert ratio.min() > 0.999
  assert (ratio < 1.001).mean() >= 0.99, np.sort(ratio)[-5:]


def boxed_optimum(norm, w, margin, low, high):
  """min size(d) s.t. w @ d <= -margin, low <= d <= high, by scipy; inf: none."""
  if w @ np.where(w > 0, low, high) > -margin:
    return np.inf
  if norm == "l2":
    crossed = lambda t: w @ np.clip(-t * w, low, high) + margin  # noqa: E731
    return np.linalg.norm(np.clip(-optimize.brentq(crossed, 0, 1e4) * w, low, high))
  bound = np.ones((N, 1)) if norm == "linf" else np.eye(N)
  size = bound.shape[1]
  found = optimize.linprog(
    np.r_[np.zeros(N), np.ones(size)],
    A_ub=np.block(
      [[np.eye(N), -bound], [-np.eye(N), -bound], [w[None], np.zeros((1, size))]]
    ),
    b_ub=np.r_[np.zeros(2 * N), -margin],
    bounds=[*zip(low, high, strict=True), *[(0, None)] * size],
  )
  return found.fun


@EACH_NORM
def test_fab_reaches_the_minimal_distance_within_the_box(norm):
  """And succeeds just where the box and the mask leave it a way."""
  victim = linear(3, 2, N)
  victim = Linear(victim.weights, victim.offset + np.float32([24, 0]))
  x = np.random.default_rng(4).uniform(-1, 1, (60, N)).astype(np.float32)
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  mask = np.arange(N)[None] % 7 != np.arange(60)[:, None] % 7
  stack = examples(x, label, mask=mask)
  w, margin = binary_margins(victim, stack)
  bounds = (-1 - x) * mask, (1 - x) * mask
  optimum = np.array(
    [boxed_optimum(norm, *each) for each in zip(w * mask, margin, *bounds, strict=True)]
  )
  lanes = solve(attacks.fab(iterations=30), Threat(NORMS[norm]), victim, stack)
  can = np.isfinite(optimum)
  assert 10 < can.sum() < 60
  assert (lanes.best.success == can).all()
  ratio = sizes(lanes.best.delta, norm)[can] / optimum[can]
  free = np.abs(margin / [DUAL[norm](v) for v in w * mask])[can]
  assert (optimum[can] > 1.02 * free).mean() > 0.5  # the box plays its part
  assert ratio.min() > 0.999
  # the overshoot is cut off at the box, so a straight way back is not the shortest
  assert ratio.max() < 1.02, np.sort(ratio)[-5:]


def test_targeted_fab_reaches_the_minimal_distance():
  victim, stack, optimum = towards_targets()
  lanes = solve(
    attacks.fab(iterations=40),
    Threat(NORMS["l2"], box=WIDE),
    victim,
    stack,
    objective=losses.targeted(),
  )
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert lanes.best.success.all()
  # some end where two boundaries meet, and float32 and float64 differ
  hit = fooled(victim, stack.x, lanes.best.delta) == stack.target
  assert hit.mean() >= 0.95
  assert ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.95, np.sort(ratio)[-5:]


def test_fab_keeps_to_its_candidate_classes():
  """With one rival it goes to the runner-up, though another boundary is nearer."""
  weights = np.zeros((3, N), np.float32)
  weights[1, 0], weights[2, 1] = 0.1, 10.0
  victim = Linear(weights, np.float32([0, -0.1, -1.0]))
  stack, threat = examples(np.zeros((1, N)), 0), Threat(NORMS["l2"], box=WIDE)
  for rivals in ({"classes": 2}, {"targets": 1}):
    lanes = solve(attacks.fab(iterations=6, **rivals), threat, victim, stack)
    np.testing.assert_allclose(lanes.best.size, 1.0, rtol=1e-3)


def test_a_boundary_that_curves_away_is_crossed():
  """Its gradient turns from coordinate to coordinate as each of them saturates, and a
  step back to where the clean clip's nearest point would be undoes the others."""
  rate = np.geomspace(1, 100, N, dtype=np.float32)

  def logits(needed, x):
    return jnp.stack([needed - jnp.mean(1 - jnp.exp(-rate * x)), 0.0])

  bound = problem.bind(logits, Threat(NORMS["l1"], box=WIDE), losses.untargeted())
  solved = drive.solve_batch(drive.driver(attacks.fab(iterations=50), bound))
  stack = examples(np.zeros((1, N)), 0)
  for needed in (0.5, 0.7, 0.9):
    assert solved(jnp.float32(needed), jax.random.key(0), stack).best.success.all()


def test_a_rival_is_neared_alike_whatever_was_found_before():
  """The curved boundary alone, and after a linear one that is farther away."""
  rate = np.geomspace(1, 100, N, dtype=np.float32)
  sizes = []
  for first in (True, False):

    def logits(needed, x, first=first):
      gap = needed - jnp.mean(1 - jnp.exp(-rate * x))
      far = gap - 0.05 + 1e-3 * jnp.sum(x)
      return jnp.stack([gap, far if first else jnp.float32(-9), jnp.float32(0)])

    bound = problem.bind(logits, Threat(NORMS["l1"], box=WIDE), losses.untargeted())
    attack = attacks.fab(iterations=50, targets=2 if first else 1)
    solved = drive.solve_batch(drive.driver(attack, bound))
    stack = examples(np.zeros((1, N)), 0)
    runs = [solved(jnp.float32(p), jax.random.key(0), stack) for p in (0.5, 0.7, 0.9)]
    assert all(run.best.success.all() for run in runs)
    sizes.append([float(run.best.size[0]) for run in runs])
  np.testing.assert_array_less(sizes[0], 1.001 * np.array(sizes[1]))


def test_restarts_find_what_the_first_run_missed():
  victim = curved(0, 5, 40)
  x = np.random.default_rng(1).uniform(-1, 1, (60, 40)).astype(np.float32)
  label = Curved.logits(victim, x.T).argmax(0)
  label[0] = (label[0] + 1) % 5  # wrong already
  once, often = (
    solve(
      attacks.fab(iterations=10, restarts=restarts, final_search=0),
      Threat(NORMS["l2"]),
      victim,
      examples(x, label),
    ).best
    for restarts in (1, 5)
  )
  assert once.success.all() and often.success.all()
  assert once.size[0] == 0 and (once.delta[0] == 0).all()
  assert (often.size <= once.size * (1 + 1e-5)).all()
  assert (often.size < 0.99 * once.size).mean() > 0.05


ORACLE = test_fab_reaches_the_minimal_distance
