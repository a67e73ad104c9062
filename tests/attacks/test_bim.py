"""BIM against closed forms on linear victims, and against its steps by hand."""

import numpy as np
import pytest
from closed_forms import (
  WIDE,
  N,
  binary_margins,
  minimal_distances,
  points,
  sizes,
  solve,
)
from small_victims import DUAL, SIZE, Curved, curved, examples, linear

from jaxadv import attacks, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


def test_bim_finds_the_optimum_of_box_mask_and_ball():
  """linf, box and mask act on each coordinate alone, so the worst point is known."""
  victim = linear(9, 2, N)
  rng = np.random.default_rng(10)
  x = rng.uniform(-1, 1, (50, N)).astype(np.float32)
  mask = rng.uniform(size=x.shape) < 0.7
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  stack = examples(x, label, mask=mask)
  w, _ = binary_margins(victim, stack)
  lanes = solve(attacks.bim(), Threat(NORMS["linf"], 0.3), victim, stack)
  worst = (np.clip(x - 0.3 * np.sign(w), -1, 1) - x) * mask
  np.testing.assert_allclose(lanes.best.delta, worst, atol=1e-6)
  assert (lanes.step == 11).all()


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_bim_finds_the_worst_point_of_the_ball(norm):
  """The margin falls by radius * dual(w): the most that any point of the ball does."""
  victim, radius = linear(7, 2, N), 0.1
  x, logits = points(victim, 8, 50)
  stack = examples(x, logits.argmax(1))
  w, _ = binary_margins(victim, stack)
  lanes = solve(attacks.bim(), Threat(NORMS[norm], radius, box=WIDE), victim, stack)
  best = radius * np.array([DUAL[norm](v) for v in w])
  np.testing.assert_allclose(-(w * lanes.best.delta).sum(1), best, rtol=1e-3)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_bim_with_a_search_reaches_the_minimal_distance(norm):
  """Within 1% on at least 99% of points, and never below it by more than rounding.

  The first ball holds a boundary for some points, and for others has to grow.
  """
  victim = linear(3, 2, N)
  x, logits = points(victim, 4, 200)
  optimum = minimal_distances(victim, logits, norm)
  ball = np.median(optimum)
  far = optimum > ball / 25
  stack = examples(x[far], logits.argmax(1)[far])
  epsilon = ball / SIZE[norm](np.full(N, WIDE[1] - WIDE[0]))
  attack = attacks.bim(search_steps=20, steps=3, step_size=0.5, epsilon=epsilon)
  lanes = solve(attack, Threat(NORMS[norm], box=WIDE), victim, stack)
  assert lanes.best.success.all()
  ratio = sizes(lanes.best.delta, norm) / optimum[far]
  assert ratio.min() > 0.9999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_a_search_without_a_success_ends_with_the_ball_and_with_the_box():
  """The first ball is the radius; or one ball and two that are larger fill the box."""
  victim = linear(3, 2, N)._replace(offset=np.float32([100, 0]))
  stack = examples(np.zeros((2, N)), 0)
  attack = attacks.bim(search_steps=20, steps=2, epsilon=0.5)
  radius = np.array([0.1, np.inf])
  lanes = solve(attack, Threat(NORMS["linf"]), victim, stack, radius)
  assert not lanes.best.success.any()
  # 0.1; 0.5, 0.75 and 1.125 of the range
  np.testing.assert_array_equal(lanes.step, [1 + 1 * 2, 1 + 3 * 2])


def steps_by_hand(victim, x, label, radius, step):
  """x + delta after each sign step on the cross-entropy, in float64, and the labels."""
  readout, hidden = np.float64(victim.readout), np.float64(victim.hidden)
  delta, path = np.zeros(len(x)), []
  for _ in range(12):
    inner = np.tanh(hidden @ (x + delta))
    logits = readout @ inner
    path.append((delta, logits.argmax() != label))
    odds = np.exp(logits - logits.max())
    rise = (odds / odds.sum() - np.eye(len(logits))[label]) @ readout
    slope = (rise * (1 - inner**2)) @ hidden
    delta = np.clip(delta + step * np.sign(slope), -radius, radius)
    delta = np.clip(x + delta, -1, 1) - x
  return path


def test_bim_takes_the_steps_of_its_definition_and_stops_at_the_first_success():
  """Radius 0.2 and step 0.03; the step as a share of the radius and of the range."""
  victim, radius, step = curved(4), 0.2, 0.03
  x = np.random.default_rng(5).uniform(-1, 1, (40, victim.hidden.shape[1]))
  label = Curved.logits(victim, x.astype(np.float32).T).argmax(0)
  stack = examples(x, label)
  paths = [
    steps_by_hand(victim, *one, radius, step)
    for one in zip(stack.x, label, strict=True)
  ]
  first = [next((i for i, (_, won) in enumerate(p) if won), 11) for p in paths]
  assert len(set(first)) >= 5  # some at once, some later, some never
  for unit, size in (("radius", step / radius), ("range", step / 2)):
    attack = attacks.bim(steps=11, step_size=size, unit=unit, stop_early=True)
    lanes = solve(attack, Threat(NORMS["linf"], radius), victim, stack)
    np.testing.assert_array_equal(lanes.step, np.array(first) + 1)
    reached = np.array([p[at][0] for p, at in zip(paths, first, strict=True)])
    won = lanes.best.success
    np.testing.assert_allclose(lanes.best.delta[won], reached[won], atol=1e-6)


def test_targeted_bim_descends_to_the_target():
  """Two classes: the target's optimum is the label's worst point."""
  victim = linear(9, 2, N)
  x, logits = points(victim, 6, 40)
  stack = examples(x, logits.argmax(1), 1 - logits.argmax(1))
  w, _ = binary_margins(victim, stack)
  threat = Threat(NORMS["linf"], 0.2, box=WIDE)
  lanes = solve(attacks.bim(), threat, victim, stack, objective=losses.targeted())
  np.testing.assert_allclose(lanes.best.delta, -0.2 * np.sign(w), atol=1e-6)


ORACLE = test_bim_with_a_search_reaches_the_minimal_distance
