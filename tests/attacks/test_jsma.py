"""JSMA against the exact optimum in l0 and a restatement of its equations."""

import itertools

import numpy as np
import pytest
from closed_forms import N, binary_margins, fooled, solve
from small_victims import Curved, Linear, curved, examples, linear, solver

from jaxadv import attacks, core, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

BOX = (-1.0, 1.0)


def two_sided(seed):
  """Logits w @ x + b and minus that: every rest is the negated gain."""
  one = linear(seed, 1, N)
  return Linear(*(np.concatenate([part, -part]) for part in one))


@pytest.mark.parametrize("targeted", [False, True])
def test_jsma_changes_the_fewest_features_that_do(targeted):
  """Steps to the box on a linear victim, a radius binds: greedy is optimal where all
  steps are as long or, in a box that ends where the clip is, none."""
  victim = two_sided(11)
  rng = np.random.default_rng(12)
  # from near the boundary to far, on both sides
  far = np.linspace(0.4, 0.9, 100)[:, None] * rng.choice([-1, 1], (100, 1))
  x = (far * np.sign(victim.weights[0])).astype(np.float32)
  x = np.where(rng.uniform(size=x.shape) < 0.05, -np.sign(x), x)
  label = fooled(victim, x, 0)
  np.testing.assert_array_equal(label, far[:, 0] < 0)
  mask = rng.uniform(size=x.shape) < 0.8
  stack = examples(x, label, 1 - label if targeted else -1, mask)
  w, margin = binary_margins(victim, stack)
  room = np.where(w > 0, x + 1, 1 - x)
  gains = -np.sort(-np.abs(w) * room * mask)
  optimum = 1 + (gains.cumsum(1) <= margin[:, None]).sum(1)
  objective = losses.targeted() if targeted else losses.untargeted()
  run = solver(
    attacks.jsma(direction="both"),
    Threat(NORMS["l0"], box=BOX),
    Linear,
    objective=objective,
  )
  lanes = run(victim, stack)
  assert np.unique(optimum).size >= 4
  assert (fooled(victim, x, lanes.best.delta) != label).all()
  np.testing.assert_array_equal((lanes.best.delta != 0).sum(1), optimum)
  assert run(victim, stack, radius=optimum).best.success.all()
  assert not run(victim, stack, radius=optimum - 1).best.success.any()


def jacobian(victim, x):
  tanh = np.tanh(np.float64(victim.hidden) @ x)
  return np.float64(victim.readout) @ (
    (1 - tanh**2)[:, None] * np.float64(victim.hidden)
  )


def restated(
  victim, x, aim, targeted, mask, moves, *, theta, features, signs, changes, fast, alone
):
  """x + delta after so many moves, by eqs. 8 and 9 over all features or pairs.

  alone: gets the moves that the equations say nothing of.
  """
  clean, x, counts = np.float64(x), np.float64(x), np.zeros(len(x), int)
  for _ in range(moves):
    rows = jacobian(victim, x) * (1 if targeted else -1)
    best = (0.0, (), 0)
    # not what is masked, changed often enough, at the box, or was moved the other way
    free = {
      sign: np.flatnonzero(
        mask & (counts < changes) & (sign * x < 1 - 1e-6) & (sign * (x - clean) >= 0)
      )
      for sign in signs
    }
    for sign in signs:
      for group in map(list, itertools.combinations(free[sign], features)):
        gain = sign * rows[aim, group].sum()
        rest = sign * np.delete(rows, aim, 0).sum(0)[group].sum()
        rest = -float(features) if fast else rest
        if gain > 0 > rest and -gain * rest > best[0]:
          best = (-gain * rest, group, sign)
    if not best[1]:  # nothing qualifies: what raises the target most
      sign, at = max(
        ((sign, at) for sign in signs for at in free[sign]),
        key=lambda one: one[0] * rows[aim, one[1]],
      )
      if sign * rows[aim, at] <= 0:
        break
      best = (0.0, [at], sign)
      alone.append(at)
    for at in best[1]:
      x[at] = np.clip(x[at] + best[2] * 2 * theta, -1, 1)
      counts[at] += 1
  return x


@pytest.mark.parametrize(
  ("targeted", "signs", "hyper"),
  [
    (True, (1, -1), {"direction": "both", "theta": 0.1}),
    (False, (1,), {"direction": "increase", "theta": 0.4}),
    (True, (-1,), {"direction": "decrease", "features": 1, "theta": 0.1}),
    (
      False,
      (1, -1),
      {"direction": "both", "features": 1, "fast": True, "theta": 0.3},
    ),
    (True, (1, -1), {"direction": "both", "features": 1, "theta": 1.0}),
  ],
)
def test_jsma_takes_the_most_salient_features_step_by_step(targeted, signs, hyper):
  victim, moves = curved(21), 5
  hyper = {"features": 2, "changes": 2, "fast": False} | hyper
  rng = np.random.default_rng(22)
  x = rng.uniform(-0.9, 0.9, (40, 12)).astype(np.float32)
  label = Curved.logits(victim, x.T).argmax(0)
  target = (label + 1) % 4
  mask = np.arange(12) % 5 != np.arange(40)[:, None] % 5
  lanes = solve(
    attacks.jsma(steps=moves - 1, **hyper),
    Threat(NORMS["l0"], box=BOX),
    victim,
    examples(x, label, target, mask),
    objective=losses.targeted() if targeted else losses.untargeted(),
    goal=core.STRONGEST,
  )
  hyper.pop("direction")
  alone = []
  for at in range(len(x)):
    aim = target[at] if targeted else label[at]
    expected = restated(
      victim, x[at], aim, targeted, mask[at], moves, signs=signs, alone=alone, **hyper
    )
    got = x[at] + lanes.state.candidate[at]
    np.testing.assert_allclose(got, expected, atol=1e-5)
  assert len(alone) < len(x) * moves / 2


def test_jsma_seeks_pairs_among_the_promising_and_changes_each_so_often():
  """Of two candidates there is one pair; after its changes comes the next."""
  victim = two_sided(31)
  stack = examples(np.zeros((1, N)), int(victim.offset.argmax()))
  lanes = solve(
    attacks.jsma(
      features=2, steps=50, theta=0.01, changes=3, candidates=2, direction="increase"
    ),
    Threat(NORMS["l0"], 6.0, box=BOX),
    victim,
    stack,
    goal=core.STRONGEST,
  )
  expected = np.zeros(N)
  expected[np.argsort(victim.weights[stack.label[0]])[:6]] = 0.06
  np.testing.assert_allclose(lanes.state.candidate[0], expected, atol=1e-5)
  assert lanes.step[0] <= 14  # then no feature is left


ORACLE = test_jsma_changes_the_fewest_features_that_do
