"""Entries of `attacks` become plans, or one sentence."""

import inspect

import jax
import numpy as np
import pytest

from jaxadv import attacks, core, drive, entries
from jaxadv.errors import InputError

PGD = {"method": "pgd", "norm": "l2", "radius": 20.0, "budget": "snr_db", "steps": 3}
OWN = {"transform": "user", "function": "numpy:negative"}


def test_an_attack_through_a_transform_pays_for_every_draw():
  plain = entries.attack_plan("a", PGD, target=False)
  noise = {"transform": "noise", "snr_db": 20.0}
  plan = entries.attack_plan("a", PGD | {"through": noise, "draws": 4}, target=False)
  assert not plain.through and plan.draws == (4,)
  assert plan.attack.forward_passes == 4 * plain.attack.forward_passes
  assert plan.attack.backward_passes == 4 * plain.attack.backward_passes
  x = np.sin(np.arange(3200, dtype=np.float32))
  added = np.asarray(plan.through[0](jax.random.key(0), x)) - x
  snr_db = 20 * np.log10(np.linalg.norm(x) / np.linalg.norm(added))
  assert snr_db == pytest.approx(20, abs=1e-3)


def test_an_attack_through_a_set_draws_where_draws_differ():
  through = {
    "transform": "any",
    "loud": {"transform": "gain", "gain_db": 6.0},
    "noisy": {"transform": "noise", "snr_db": 20.0},
    "rough": {"transform": "bit_depth", "bits": 4},
    "vague": {"transform": "gain", "gain_db": 0.0, "range_db": 3.0},
  }
  plain = entries.attack_plan("a", PGD, target=False)
  plan = entries.attack_plan("a", PGD | {"through": through, "draws": 3}, target=False)
  assert plan.draws == (1, 3, 1, 3)
  assert plan.attack.forward_passes == 8 * plain.attack.forward_passes
  x = 0.4 * np.sin(np.arange(3200, dtype=np.float32))
  loud, noisy, rough, vague = (
    np.asarray(twin(jax.random.key(0), x)) for twin in plan.through
  )
  np.testing.assert_allclose(loud, 10**0.3 * x, rtol=1e-4)
  assert np.linalg.norm(noisy - x) == pytest.approx(0.1 * np.linalg.norm(x), rel=1e-4)
  assert len(np.unique(rough)) <= 16
  np.testing.assert_allclose(vague / vague[5] * x[5], x, atol=1e-6)


@pytest.mark.parametrize("budget", ["absolute", "relative", "snr_db"])
def test_entries_that_differ_in_the_radius_alone_are_one_program(budget):
  x = np.sin(np.arange(32, dtype=np.float32))
  batch, key = core.examples(x[None], np.array([0])), jax.random.key(0)
  weights = np.cos(np.arange(96, dtype=np.float32)).reshape(3, 32)

  def planned(**changes):
    entry = PGD | {"budget": budget} | changes
    plan = entries.attack_plan("a", entry, target=False)
    bind = plan.bind(lambda weights, x: weights @ x, plan.stages[0])
    solve = jax.jit(drive.solve_batch(drive.driver(plan.attack, bind)))
    params = plan.params(weights)
    return solve, params, solve.lower(params, key, batch).as_text()

  solve, near, program = planned(radius=0.5)
  _, far, same = planned(radius=0.25)
  assert program == same != planned(radius=0.5, steps=4)[-1]
  signal = 1.0 if budget == "absolute" else np.linalg.norm(x)
  for radius, params in ((0.5, near), (0.25, far)):
    share = 10 ** (-radius / 20) if budget == "snr_db" else radius
    size = np.linalg.norm(solve(params, key, batch).best.delta)
    assert size == pytest.approx(share * signal, rel=1e-5)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"through": OWN}, "a.through is 'user'"),
    ({"through": {"transform": "nose"}}, "through.transform is 'nose': choose from"),
    ({"through": {"snr_db": 3.0}}, "give a group with the key transform"),
    ({"through": {"transform": "noise", "db": 3}}, "through.db is no parameter"),
    ({"through": {"transform": "any"}}, "'any', has no members"),
    (
      {"through": {"transform": "any", "own": OWN}},
      "a.through.own is 'user', which has no gradient",
    ),
    ({"through": {"transform": "any", "up": 3}}, "a.through.up is 3: give a group"),
    ({"draws": 0}, "attacks.a.draws is 0: give at least 1"),
    ({"draws": 1.5}, "attacks.a.draws is 1.5"),
  ],
)
def test_a_bad_transform_of_an_attack(changes, said):
  with pytest.raises(InputError, match=said):
    entries.attack_plan("a", PGD | changes, target=False)


@pytest.mark.parametrize(
  ("entry", "target", "said"),
  [
    (PGD | {"draws": 4}, False, "a.draws is 4, and the attack goes through no"),
    (
      {"method": "ddn", "norm": "l2", "budget": "relative"},
      False,
      "lacks attacks.a.radius, of which 'relative' is the budget",
    ),
    (
      {"method": "autoattack", "norm": "l2", "radius": 1.0},
      True,
      "a.method 'autoattack' has no targeted form: leave it out",
    ),
    (
      {"method": "autoattack", "norm": "l0", "radius": 1.0},
      False,
      "norm is 'l0': give one of l1, l2, linf",
    ),
  ],
)
def test_what_would_be_ignored_is_refused(entry, target, said):
  with pytest.raises(InputError, match=said):
    entries.attack_plan("a", entry, target=target)


@pytest.mark.parametrize(
  ("classes", "targeted", "passes"), [(41, False, 9), (4, False, 3), (41, True, 1)]
)
def test_passes_follow_the_victims_classes_and_the_target(classes, targeted, passes):
  noise = {"transform": "noise", "snr_db": 3.0}
  for method, draws in (("fab", 1), ("deepfool", 5)):
    entry = {"method": method, "norm": "l2"}
    entry |= {"through": noise, "draws": draws} if draws > 1 else {}
    plan = entries.attack_plan("a", entry, target=targeted).against(classes)
    assert plan.attack.backward_passes == draws * passes
    assert plan.attack.forward_passes == draws
  pgd = entries.attack_plan("a", PGD, target=False)
  assert pgd.against(classes) == pgd


def test_a_budget_per_frame():
  entry = PGD | {"radius": 0.1, "budget": "absolute", "frame_samples": 4}
  norm = entries.attack_plan("a", entry, target=False).threat.norm
  delta = np.arange(1.0, 13.0, dtype=np.float32)
  frames = delta.reshape(3, 4)
  largest = np.linalg.norm(frames[-1])
  np.testing.assert_allclose(norm.size(delta), largest, rtol=1e-6)
  each = 0.1 * frames / np.linalg.norm(frames, axis=1, keepdims=True)
  np.testing.assert_allclose(norm.project(delta, 0.1), each.ravel(), rtol=1e-5)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"frame_samples": 0}, "a.frame_samples is 0: give a divisor of 65536"),
    ({"frame_samples": 1000}, "a.frame_samples is 1000: give a divisor of 65536"),
    ({"frame_samples": "64"}, "a.frame_samples is '64'"),
    (
      {"frame_samples": 64, "method": "ddn"},
      "a budget per frame, which ddn can't have: choose from white_noise",
    ),
  ],
)
def test_a_bad_budget_per_frame(changes, said):
  entry = {k: v for k, v in PGD.items() if k not in ("radius", "budget")}
  radius = {} if "method" in changes else {"radius": 0.1}
  with pytest.raises(InputError, match=said):
    entries.attack_plan("a", entry | radius | changes, target=False)


@pytest.mark.parametrize("method", ["pgd", "autoattack"])
@pytest.mark.parametrize("precision", ["highest", "default", "bfloat16"])
def test_attacks_count_on_no_margin_that_rounding_may_take(precision, method):
  entry = PGD | {"method": method}
  plan = entries.attack_plan("a", entry, target=False, precision=precision)
  sure = {stage.objective.confidence for stage in plan.stages}
  assert sure == {entries.CONFIDENCE[precision]}
  assert min(sure) > 0
  for confidence in () if method == "autoattack" else (0.0, 5.0):
    asked = entry | {"confidence": confidence}
    plan = entries.attack_plan("a", asked, target=False, precision=precision)
    assert plan.objective.confidence == confidence


@pytest.mark.parametrize("method", sorted(attacks.ATTACKS))
def test_a_config_can_give_every_parameter(method):
  """Its type is that of the default: a None would refuse every number."""
  parameters = inspect.signature(attacks.ATTACKS[method]).parameters
  kinds = {name: type(each.default) for name, each in parameters.items()}
  assert set(kinds.values()) <= {bool, int, float, str}, kinds
