"""Inputs at the edge: ties, confidence, faint gradients, half precision, bad ones."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_victims import Linear, curved, examples, solver
from table import ONE_EACH

from jaxadv import core, drive, losses, norm_lifts, norms, problem
from jaxadv.attacks import ATTACKS, pgd
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

N = 24
WEIGHTS = np.random.default_rng(0).normal(size=(3, N)).astype(np.float32)
WIDE = (-50.0, 50.0)
EXAMPLES = examples(np.full((2, N), 0.1), 0)


@pytest.mark.parametrize(
  "method, norm, hyper",
  [
    ("carlini_wagner", "l2", {"search_steps": 3, "iterations": 60}),
    ("carlini_wagner_linf", "linf", {"steps": 300, "iterations": 50}),
    ("carlini_wagner_l0", "l0", {"steps": 200, "iterations": 40}),
    ("fab", "l2", {"iterations": 10}),
    ("deepfool", "l2", {}),
    ("ddn", "l2", {}),
    ("fmn", "linf", {}),
    ("lbfgs", "l2", {}),
  ],
)
def test_a_tie_of_the_two_leading_classes_is_broken(method, norm, hyper):
  # not won, and at no distance: steps that scale with it would be 0 for ever
  run = solver(ATTACKS[method](**hyper), problem.Threat(NORMS[norm]), Linear)
  # in the second victim all logits are 0, and no step can scale with them
  for offset in ([1, 1, 0], [0, 0, 0]):
    victim = Linear(WEIGHTS, np.float32(offset))
    best = run(victim, examples(np.zeros((1, N)), 0)).best
    assert best.success.all() and (best.size > 0).all()
    assert norm == "l0" or (best.size < 1e-3).all()


@pytest.mark.parametrize("confidence", [0.3, 5.0])
def test_deepfool_goes_as_far_as_the_confidence_asks(confidence):
  x = np.random.default_rng(1).uniform(-0.5, 0.5, (20, N)).astype(np.float32)
  apart = WEIGHTS[0] - WEIGHTS[1]
  exact = (np.abs(x @ apart) + confidence) / np.linalg.norm(apart)
  threat = problem.Threat(norms.L2, box=WIDE)
  objective = losses.untargeted(confidence=confidence)
  run = solver(ATTACKS["deepfool"](), threat, Linear, objective=objective)
  victim = Linear(WEIGHTS[:2], np.zeros(2, np.float32))
  best = run(victim, examples(x, (x @ apart < 0).astype(int))).best
  assert best.success.all()
  np.testing.assert_allclose(best.size, 1.02 * exact, rtol=1e-3)  # with its overshoot


@pytest.mark.parametrize("optimizer", ["plain", "momentum", "adam"])
@pytest.mark.parametrize("lead, faint", [(60, 1.0), (1, 1e-18), (30, 1e-6)])
def test_a_gradient_may_be_as_faint_as_a_victim_is_sure(optimizer, lead, faint):
  x = np.random.default_rng(2).uniform(-0.5, 0.5, (8, N)).astype(np.float32)
  weights = WEIGHTS[:2] * np.where(np.arange(N) % 2, np.float32(faint), 1)
  apart = weights[0] - weights[1]
  x *= lead / np.abs(x @ apart)[:, None]  # cross-entropy's gradient is exp(-lead)
  radius = 3 * lead / np.linalg.norm(apart)  # Adam spends much where it is of no use
  attack = pgd(steps=40, optimizer=optimizer, random_start=False)
  threat = problem.Threat(norms.L2, radius, box=(-1e3, 1e3))
  run = solver(attack, threat, Linear)
  victim = Linear(weights, np.zeros(2, np.float32))
  best = run(victim, examples(x, (x @ apart < 0).astype(int))).best
  assert best.success.mean() > 0.8


@pytest.mark.parametrize("faint", [1e-25, 1e-32, 1e-36])
def test_a_direction_has_size_one_however_faint_the_gradient(faint):
  size = np.linalg.norm(norms.L2.direction(jnp.full(4, faint, jnp.float32)))
  assert size == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("row", ONE_EACH, ids=lambda row: row.method)
def test_logits_of_half_precision_are_taken(row):
  """Traced, not run."""

  def logits(params, x):
    return (params @ x).astype(jnp.bfloat16)

  bound = problem.bind(logits, row.threat, losses.untargeted())
  solve = drive.solve_batch(drive.driver(row.attack, bound))
  lanes = jax.eval_shape(
    lambda batch: solve(np.ones((4, N)), jax.random.key(0), batch), EXAMPLES
  )
  assert lanes.best.delta.shape == EXAMPLES.x.shape


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_an_snr_holds_for_budgets_per_frame_wherever_the_mask_lies(norm):
  mask = np.zeros((1, 80), np.float32)
  mask[0, 6:38] = 1  # a part of two frames of 16, and one whole
  x = np.random.default_rng(3).normal(size=(1, 80)).astype(np.float32)
  lifted = norm_lifts.framewise(NORMS[norm], 16)
  threat = problem.Threat(lifted, 20.0, "snr_db", WIDE)
  example = jax.tree.map(lambda leaf: leaf[0], examples(x, 0, mask=mask))
  radius = threat.radius_of(example)
  for seed in range(20):
    loud = 9 * jax.random.normal(jax.random.key(seed), (80,)) ** 5 * mask[0]
    delta = np.float64(lifted.project(loud, radius))
    assert np.linalg.norm(delta) <= 0.1 * np.linalg.norm(x) * (1 + 1e-5)
  # and is reached: by all samples, or one of each frame
  chosen = mask[0] if norm == "linf" else np.isin(np.arange(80), (6, 16, 32))
  full = np.float64(lifted.project(99.0 * chosen, radius))
  assert np.linalg.norm(full) == pytest.approx(0.1 * np.linalg.norm(x), rel=1e-5)


@pytest.mark.parametrize(
  "changes, threat, objective, said",
  [
    ({}, {"box": (-np.inf, np.inf)}, {}, "give a finite"),
    ({"mask": 0.5 * EXAMPLES.mask}, {}, {}, "other values than 0 and 1"),
    ({"mask": 0 * EXAMPLES.mask}, {}, {}, "a mask that allows nothing"),
    ({"x": EXAMPLES.x + 1}, {}, {}, "scale the clip"),
    ({"x": EXAMPLES.x * 10 + 5e-7}, {"norm": norms.L0, "radius": 2.0}, {}, "scale the"),
    ({}, {"budget": "snr"}, {}, "budget is 'snr': choose from absolute"),
    ({}, {}, {"confidence": -1.0}, "confidence is -1.0: give at least 0"),
    ({}, {}, {"confidence": np.nan}, "confidence is nan"),
  ],
)
def test_bad_input_is_said(changes, threat, objective, said):
  whole = {"norm": norms.L2, "radius": 1.0} | threat
  attack = ATTACKS["jsma"]() if whole["norm"] is norms.L0 else pgd(steps=2)
  with pytest.raises(InputError, match=said):
    bind = problem.bind(
      Linear.logits, problem.Threat(**whole), losses.untargeted(**objective)
    )
    solve = drive.solve_batch(drive.driver(attack, bind))
    victim = (WEIGHTS, np.zeros(3, np.float32))
    solve(victim, jax.random.key(0), EXAMPLES._replace(**changes))


COUNTS = ("steps", "iterations", "queries", "restarts", "targets", "changes")


@pytest.mark.parametrize(
  "method, name",
  [
    (method, name)
    for method, factory in ATTACKS.items()
    for name in COUNTS
    if name in inspect.signature(factory).parameters
  ],
)
def test_no_attack_takes_0_steps_or_fewer(method, name):
  allowed = 0 if name in ("targets", "changes") else 1  # 0: all classes, no limit
  default = inspect.signature(ATTACKS[method]).parameters[name].default
  wrong = [value for value in (0, -1, -3) if value < allowed and value != default]
  assert wrong
  for value in wrong:
    with pytest.raises(InputError, match=f"^{name} is {value}: give "):
      ATTACKS[method](**{name: value})


@pytest.mark.parametrize(
  "method, hyper, said",
  [
    ("pgd", {"decay": 1.5}, r"decay is 1.5: give a number in \[0, 1\]"),
    ("nes", {"learning_rate": 5e-4}, "least_rate is 0.001: give 0 to 0.0005"),
    ("partial_information", {"learning_rate": 1e-4}, "least_rate is 0.001: give 0 to"),
    ("apgd", {"steps": 4, "shrink": True}, "steps is 4: give 3 or at least 5"),
  ],
)
def test_settings_that_go_nowhere_are_refused(method, hyper, said):
  with pytest.raises(InputError, match=said):
    ATTACKS[method](**hyper)


def test_fab_says_that_it_knows_no_hyperplane_of_frames():
  threat = problem.Threat(norm_lifts.framewise(norms.L2, 4), 1.0)
  bind = problem.bind(Linear.logits, threat, losses.untargeted())
  solve = drive.solve_batch(drive.driver(ATTACKS["fab"](), bind))
  with pytest.raises(InputError, match="fab has no step onto a hyperplane"):
    solve((WEIGHTS, np.zeros(3, np.float32)), jax.random.key(0), EXAMPLES)


def test_an_attack_is_not_run_in_a_norm_that_is_not_its_own():
  bind = problem.bind(
    curved(0).logits, problem.Threat(norms.L2, 0.5), losses.untargeted()
  )
  solve = drive.solve_batch(drive.driver(ATTACKS["jsma"](), bind))
  clips = core.examples(np.zeros((1, 12), np.float32), np.zeros(1, int))
  with pytest.raises(InputError, match="this attack is not for l2: it is defined for"):
    solve(tuple(curved(0)), jax.random.key(0), clips)
  with pytest.raises(InputError, match="rule is 'all_mised': choose from any_changed"):
    losses.untargeted_labels("all_mised")
