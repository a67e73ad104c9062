"""The worst of several attacks: AutoAttack on linear victims, costs, survivors only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_victims import DUAL, SIZE, Linear, linear

from jaxadv import core, drive, ensemble, losses, problem
from jaxadv.attacks import fab, fgsm, pgd, white_noise
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

N, K = 12, 5
VICTIM = linear(7, K, N)
X = np.random.default_rng(8).uniform(-0.5, 0.5, (24, N)).astype(np.float32)
LOGITS = X.astype(np.float64) @ VICTIM.weights.T + VICTIM.offset
LABEL = LOGITS.argmax(1)
BATCH = core.examples(X, LABEL)
KEY = jax.random.key(0)


def minimal(norm):
  """From each clip to its nearest boundary."""
  found = []
  for f, y in zip(LOGITS, LABEL, strict=True):
    others = [k for k in range(K) if k != y]
    w = np.float64(VICTIM.weights[others]) - VICTIM.weights[y]
    found.append(
      min((f[y] - f[k]) / DUAL[norm](v) for k, v in zip(others, w, strict=True))
    )
  return np.array(found)


def evaluate(stages, norm, radius, batch, **options):
  threat = problem.Threat(NORMS[norm], radius, box=(-9.0, 9.0))
  return ensemble.evaluate(
    stages, Linear.logits, threat, tuple(VICTIM), KEY, batch, **options
  )


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_autoattack_finds_all_that_is_there_and_nothing_else(norm):
  """All clips whose boundary is nearer than 0.97 radii, and none beyond 1.03."""
  distance = minimal(norm)
  radius = float(np.median(distance))
  stages = ensemble.autoattack(norm=norm, steps=20, queries=30)
  found = evaluate(stages, norm, radius, BATCH)
  success = np.array([one.outcome.best.success for one in found])
  clear = np.abs(distance / radius - 1) > 0.03
  np.testing.assert_array_equal(success[clear], (distance < radius)[clear])
  assert 0.3 < success.mean() < 0.7
  delta = np.stack([one.outcome.best.delta for one in found]).astype(np.float64)
  assert max(SIZE[norm](d) for d in delta) <= radius * 1.00001
  said = ((X + delta) @ VICTIM.weights.T + VICTIM.offset).argmax(1)
  np.testing.assert_array_equal(said != LABEL, success)
  assert [one.outcome.id for one in found] == list(range(len(X)))


def test_what_hides_its_gradient_falls_to_square():
  """As standard AutoAttack has it: the first stage wins nothing, its last most."""
  stages = ensemble.autoattack(norm="linf", steps=3, queries=400)[::3]
  threat = problem.Threat(NORMS["linf"], float(2 * np.median(minimal("linf"))))
  hidden = lambda params, x: jax.lax.stop_gradient(  # noqa: E731
    Linear.logits(params, x)
  )
  found = ensemble.evaluate(
    stages, hidden, threat._replace(box=(-9.0, 9.0)), VICTIM, KEY, BATCH
  )
  fell = np.array([one.outcome.best.success for one in found])
  by = np.array([one.stage for one in found])
  within = minimal("linf") < 0.5 * threat.radius
  assert [stages[n].name for n in (0, 1)] == ["apgd", "square"]
  assert fell[within].mean() > 0.8 and (by[fell] == 1).mean() > 0.8


def test_what_long_steps_jump_over_falls_to_fab():
  """A thin shell at half the radius. Behind it the label comes back, and the loss falls
  outwards again: long steps jump over it, the nearest boundary is on it."""
  weights = np.random.default_rng(9).normal(size=200).astype(np.float32)
  x = np.random.default_rng(10).uniform(-0.5, 0.5, (16, 200)).astype(np.float32)
  x -= np.outer(x @ weights, weights) / (weights @ weights)  # all as far from it

  def logits(params, x):
    t = x @ params / np.abs(weights).sum()  # -1 to 1 in the unit ball of linf
    behind = jnp.minimum(-0.06 + 20 * (t - 0.56), 0.5 - 0.2 * t)
    margin = jnp.where(t < 0.56, 0.5 - t, behind)
    return jnp.stack([margin, jnp.zeros(()), jnp.full((), -9.0), jnp.full((), -9.0)])

  stages = ensemble.autoattack(norm="linf", steps=20, queries=30)
  threat = problem.Threat(NORMS["linf"], 1.0, box=(-9.0, 9.0))
  batch = core.examples(x, 0)
  found = ensemble.evaluate(stages, logits, threat, weights, KEY, batch)
  assert all(one.outcome.best.success for one in found)
  fell = [stages[one.stage].name for one in found]
  assert fell.count("fab") > 0.7 * len(fell), fell


def test_later_attacks_see_the_survivors_only_and_costs_add_up():
  aim = losses.untargeted()
  stages = (
    ensemble.Stage("noise", white_noise(), aim),
    ensemble.Stage("fgsm", fgsm(), aim),
    ensemble.Stage("pgd", pgd(steps=10), aim),
  )
  radius = float(np.median(minimal("linf")))
  found = evaluate(stages, "linf", radius, BATCH, lanes=4)
  alone = [evaluate([s], "linf", radius, BATCH) for s in stages]
  seen = set()
  for n, one in enumerate(found):
    fell = [bool(each[n].outcome.best.success) for each in alone]
    expected = fell.index(True) if True in fell else len(stages) - 1
    assert one.stage == expected
    assert one.outcome.best.success == any(fell)
    steps = [each[n].cost.steps for each in alone[: expected + 1]]
    assert one.cost.steps == sum(steps)
    assert one.cost.forward_passes == sum(steps)
    assert one.cost.backward_passes == sum(steps[1:])
    seen.add((one.stage, any(fell)))
  assert len(seen) >= 3


def test_a_stage_costs_no_more_rivals_than_the_victim_has():
  stages = (ensemble.Stage("fab", fab(iterations=3), losses.untargeted()),)
  for one in evaluate(stages, "l2", 1e-3, BATCH):
    assert one.cost.backward_passes == (K - 1) * one.cost.steps > 0


def test_looks_of_a_stage_ask_for_the_survivors_alone():
  asked = []
  trial = core.Trial(None, 0.0, False, 0.0, 0.0)

  def run_stage(stage, ids):
    asked.append(list(ids))
    for n in ids:
      fell = n % 3 == len(asked) - 1
      watch = drive.Watch(2 * fell, len(asked), 1, 0.5 * len(asked))
      outcome = ensemble.engine.Outcome(n, 2, trial._replace(success=fell), watch, 0.5)
      yield ensemble.engine.Look((outcome,), 2, 0.5, 0.0)

  stages = [ensemble.Stage(str(n), pgd(), losses.untargeted()) for n in range(2)]
  looks = list(ensemble.worst_case(stages, run_stage, range(6)))
  assert asked == [[0, 1, 2, 3, 4, 5], [1, 2, 4, 5]]
  found = {one.outcome.id: one for _, some in looks for one in some}
  assert sorted(found) == list(range(6))
  assert [found[n].stage for n in range(6)] == [0, 1, 1, 0, 1, 1]
  assert [found[n].cost.steps for n in (0, 1)] == [2, 4]
  assert found[1].cost.seconds == 1.0
  # what went wrong in the first of two is not forgotten in the second
  assert found[0].watch == drive.Watch(2, 1, 1, 0.5)
  assert found[1].watch == drive.Watch(4, 3, 2, 1.0)
  assert found[2].watch == drive.Watch(0, 3, 2, 1.0)


def test_autoattack_is_not_made_for_other_norms():
  with pytest.raises(InputError, match="norm is 'l0': give one of l1, l2, linf"):
    ensemble.autoattack(norm="l0")


@pytest.mark.parametrize(
  "radius, x, said",
  [
    (-1.0, X, "has the radius -1: give more than 0"),
    (float("nan"), X, "has the radius nan"),
    (0.1, X + 20, "spans"),
    (0.1, X * np.nan, "NaN"),
  ],
)
def test_bad_input_is_one_sentence(radius, x, said):
  stages = (ensemble.Stage("fgsm", fgsm(), losses.untargeted()),)
  with pytest.raises(InputError, match=said):
    evaluate(stages, "linf", radius, core.examples(x, LABEL))


def test_a_victim_that_says_nan_is_one_sentence():
  stages = (ensemble.Stage("fgsm", fgsm(), losses.untargeted()),)
  threat = problem.Threat(NORMS["linf"], 0.1, box=(-9.0, 9.0))
  with pytest.raises(InputError, match="returns NaN"):
    ensemble.evaluate(
      stages,
      lambda params, x: np.nan * Linear.logits(params, x),
      threat,
      tuple(VICTIM),
      KEY,
      BATCH,
    )


ORACLES = {"autoattack": test_autoattack_finds_all_that_is_there_and_nothing_else}
