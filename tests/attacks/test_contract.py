"""Every attack in ATTACKS against every rule that drivers and users rely on.

Over 300 lines: the rules share the clips, and what was compiled and played of each row.
"""

import functools
import importlib
import importlib.util

import jax
import numpy as np
import pytest
from small_victims import SIZE, Curved, Linear, curved, examples, linear, solver
from table import BOX, ONE_EACH, TABLE, Row

from jaxadv import core, drive, engine, losses, problem
from jaxadv.attacks import ATTACKS
from jaxadv.ensemble import ENSEMBLES
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

EACH_INDEX = pytest.mark.parametrize(
  "index", range(len(TABLE)), ids=lambda at: f"{TABLE[at].method}-{TABLE[at].norm}"
)
EACH_ATTACK = pytest.mark.parametrize("row", ONE_EACH, ids=lambda row: row.method)


@pytest.mark.parametrize("method", list(ATTACKS))
def test_every_attack_is_in_the_table(method):
  assert method in {row.method for row in TABLE}, (
    f"give {method} a Row in tests/attacks/table.py"
  )


@pytest.mark.parametrize("method", list(ATTACKS))
def test_every_attack_has_an_oracle(method):
  name = f"test_{method}"
  assert importlib.util.find_spec(name), f"{method} has no tests/attacks/{name}.py"
  oracle = getattr(importlib.import_module(name), "ORACLE", None)
  assert callable(oracle), f"tests/attacks/{name}.py has no ORACLE = test_of_the_truth"


@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_every_ensemble_has_an_oracle(name):
  oracle = importlib.import_module("test_ensemble").ORACLES.get(name)
  assert callable(oracle), f"tests/test_ensemble.py has no oracle of {name} in ORACLES"


VICTIM = curved(0)
N = VICTIM.hidden.shape[1]


def clips(count: int = 9) -> core.Example:
  """Clips that touch the box, a third of each out of bounds, the first one wrong."""
  rng = np.random.default_rng(1)
  low, high = BOX
  x = rng.uniform(low, high, (count, N)).astype(np.float32)
  x[:, 0], x[:, 1], x[:, 2] = high, low, high - 0.02
  mask = np.arange(N)[None] % 3 != np.arange(count)[:, None] % 3
  label = (Curved.logits(VICTIM, x.T)).argmax(0)
  label[0] = (label[0] + 1) % 4
  # the victim is an odd function: it hears -x as another class
  return examples(x, label, mask=mask)._replace(start=np.clip(-x, low, high))


CLIPS = clips()


def inside(x):
  """Whether all of it is in the box."""
  return x.min() >= BOX[0] - 1e-6 and x.max() <= BOX[1] + 1e-6


def drive_by(row: Row) -> drive.Driver:
  bind = problem.bind(Curved.logits, row.threat, losses.untargeted())
  return drive.driver(row.attack, bind, core.GOALS.get(row.goal))


@functools.cache
def played(row_index: int):
  """Lanes [steps + 1 more than needed, B] of advancing by hand, numpy."""
  driver, key = drive_by(TABLE[row_index]), jax.random.key(0)
  start = jax.jit(jax.vmap(driver.start, (None, None, 0)))
  advance = jax.jit(jax.vmap(driver.advance, (None, None, 0, 0)))
  lanes = [start(tuple(VICTIM), key, CLIPS)]
  while not np.asarray(lanes[-1].done).all():
    lanes.append(advance(tuple(VICTIM), key, lanes[-1], CLIPS))
  return jax.device_get(lanes)


def pick(tree, at):
  return jax.tree.map(lambda leaf: leaf[at], tree)


def trials_of(lanes, at):
  """The trials of example `at`, as they were judged."""
  steps = lanes[-1].step[at]
  return [pick(lane.state.trial, at) for lane in lanes[1 : steps + 1]]


def counted(lanes, at):
  """Those that may win: not those with a loss of inf (`apgd`, shrink)."""
  trials = [trial for trial in trials_of(lanes, at) if trial.loss < np.inf]
  assert trials
  return trials


def by_hand(delta, at):
  """loss and success of x + delta in float64."""
  x, label = CLIPS.x[at].astype(np.float64), CLIPS.label[at]
  logits = np.float64(VICTIM.readout) @ np.tanh(np.float64(VICTIM.hidden) @ (x + delta))
  log_probs = logits - np.log(np.exp(logits).sum())
  return log_probs[label], logits[label] - np.delete(logits, label).max()


@EACH_INDEX
def test_every_trial_is_inside_ball_box_and_mask(index):
  row, lanes = TABLE[index], played(index)
  moved = 0
  for at in range(len(CLIPS.x)):
    for trial in [*counted(lanes, at), pick(lanes[-1].best, at)]:
      delta = trial.delta.astype(np.float64)
      assert np.isfinite(delta).all()
      assert (delta[CLIPS.mask[at] == 0] == 0).all()
      assert inside(CLIPS.x[at] + delta)
      assert SIZE[row.norm](delta) <= row.radius * (1 + 1e-5)
      moved += np.abs(delta).max() > 1e-3
  assert moved >= len(CLIPS.x)


@EACH_INDEX
def test_every_trial_says_what_the_victim_says(index):
  lanes = played(index)
  for at in range(len(CLIPS.x)):
    for trial in counted(lanes, at):
      loss, margin = by_hand(trial.delta, at)
      np.testing.assert_allclose(trial.loss, loss, 1e-4, 1e-5)
      if abs(margin) > 1e-4:
        assert trial.success == (margin < 0)
      size = SIZE[TABLE[index].norm](trial.delta.astype(np.float64))
      np.testing.assert_allclose(trial.size, size, 1e-5, 1e-6)


@EACH_INDEX
def test_the_best_trial_is_kept_and_the_attack_ends_when_it_should(index):
  row, lanes = TABLE[index], played(index)
  for at in range(len(CLIPS.x)):
    trials = trials_of(lanes, at)

    def rank(trial):  # lower is better
      smallest = row.goal_name == "smallest" and trial.success
      return not trial.success, trial.size if smallest else trial.loss

    best = pick(lanes[-1].best, at)
    assert rank(best) == min(map(rank, trials))
    assert any(np.array_equal(best.delta, t.delta) for t in trials)
    won = [t.success for t in trials]
    if row.goal_name == "first_success" and any(won):
      assert won.index(True) == len(trials) - 1
    elif row.goal_name == "smallest" and best.success and best.size == 0:
      assert [t.size for t in trials if t.success].index(0) == sum(won) - 1
    elif row.attack.finished is core.Attack._field_defaults["finished"]:
      assert len(trials) == row.attack.steps
    assert len(trials) <= row.attack.steps


@EACH_INDEX
def test_the_attack_does_something(index):
  """At least half of the clips end with a lower loss than they began with."""
  best = played(index)[-1].best
  clean = [by_hand(0.0, at)[0] for at in range(len(CLIPS.x))]
  assert (best.loss < np.array(clean) - 0.01).mean() >= 0.5


@EACH_ATTACK
def test_engine_gives_what_advancing_by_hand_gives(row):
  """Whatever the lanes, devices, chunk and order."""
  lanes = played(TABLE.index(row))[-1]
  driver, devices = drive_by(row), jax.devices()[:2]
  params, key = engine.replicate((tuple(VICTIM), jax.random.key(0)), devices)
  stack = [pick(CLIPS, at) for at in range(len(CLIPS.x))]
  compiled = engine.compile_lanes(
    driver, params, key, stack[0], lanes=2, chunk=3, devices=devices
  )
  outcomes = {
    outcome.id: outcome
    for look in engine.run(compiled, params, key, reversed(stack))
    for outcome in look.outcomes
  }
  assert sorted(outcomes) == list(range(len(stack)))
  for at, outcome in outcomes.items():
    assert outcome.steps == lanes.step[at]
    assert outcome.best.success == lanes.best.success[at]
    np.testing.assert_allclose(outcome.best.delta, lanes.best.delta[at], atol=2e-5)
    np.testing.assert_allclose(outcome.best.loss, lanes.best.loss[at], atol=1e-4)


@functools.cache
def strongest(index: int):
  """The row's attack under a goal by which it runs all its steps."""
  row = TABLE[index]
  return solver(row.attack, row.threat, Curved, goal=core.STRONGEST)


@EACH_INDEX
def test_same_seed_same_result_and_random_attacks_differ_by_seed_and_clip(index):
  # a victim without gradient: what is left is the attack's own randomness
  still = Curved(VICTIM.readout, 0 * VICTIM.hidden)
  same = CLIPS._replace(x=0 * CLIPS.x, mask=1 + 0 * CLIPS.mask, label=0 * CLIPS.label)
  first, again, other = (
    strongest(index)(still, same, seed).best.delta for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert np.array_equal(first, other) != TABLE[index].random
  assert np.array_equal(first[1], first[2]) != TABLE[index].random


@pytest.mark.parametrize(
  "row, targeted",
  [(row, False) for row in ONE_EACH]
  + [(row, True) for row in ONE_EACH if row.attack.per_rival],
  ids=lambda value: getattr(value, "method", value),
)
def test_a_step_costs_the_passes_that_it_says_and_init_none(row, targeted):
  """Counted as they run, not as they are traced: a loop or a vmap would count."""
  calls = {"forward": 0, "backward": 0}

  def count(which, each=None):
    # `each` makes a vmap call back once for every element
    def add(_):
      calls[which] += 1

    jax.debug.callback(add, each)

  @jax.custom_vjp
  def counted(x):
    count("forward", x)
    return Curved.logits(VICTIM, x)

  def backward(x, grad):
    count("backward", grad)
    return jax.vjp(lambda x: Curved.logits(VICTIM, x), x)[1](grad)

  counted.defvjp(lambda x: (counted(x), x), backward)
  attack, key = row.attack, jax.random.key(0)
  example = pick(CLIPS._replace(target=(CLIPS.label + 1) % 4), 1)
  objective = losses.targeted() if targeted else losses.untargeted()
  bind = problem.bind(lambda params, x: counted(x), row.threat, objective)
  bound = bind(None, key, example)
  init = jax.jit(lambda: attack.init(key, bound))
  take = jax.jit(lambda state: attack.step(key, state, bound))
  state = init()
  jax.effects_barrier()
  assert calls == {"forward": 0, "backward": 0}
  for step in (1, 2):
    state = take(state)
    jax.effects_barrier()
    forward = step * attack.forward_passes
    backward = step * attack.against(len(VICTIM.readout), targeted).backward_passes
    assert calls == {"forward": forward, "backward": backward}


SATURATED = Curved(1e4 * VICTIM.readout, VICTIM.hidden)
FLAT = Curved(VICTIM.readout, 0 * VICTIM.hidden)
SILENT = CLIPS._replace(x=0 * CLIPS.x)
UNWRITABLE = CLIPS._replace(mask=0 * CLIPS.mask)


@EACH_INDEX
def test_finite_on_silence_on_saturation_and_without_gradient(index):
  run, radius = strongest(index), TABLE[index].radius
  for victim, stack, budget, moves in (
    (VICTIM, SILENT, radius, True),
    (VICTIM, SILENT, 0.0, False),  # what a budget in dB of SNR gives to silence
    (VICTIM, UNWRITABLE, radius, False),
    (SATURATED, CLIPS, radius, True),
    (FLAT, CLIPS, radius, TABLE[index].random),
  ):
    best = run(victim, stack, radius=budget).best
    for leaf in (best.delta, best.loss, best.size):
      assert np.isfinite(leaf).all()
    assert moves or (best.delta == 0).all()


@pytest.mark.parametrize("method", ["deepfool", "carlini_wagner", "ddn", "fmn"])
def test_what_is_wrong_already_needs_no_perturbation(method):
  victim = linear(2, 4, N)
  x = np.random.default_rng(3).uniform(-0.5, 0.5, (8, N)).astype(np.float32)
  said = (x @ victim.weights.T + victim.offset).argmax(1)
  attack, threat = ATTACKS[method](), problem.Threat(NORMS["l2"])
  lanes = solver(attack, threat, Linear)(victim, examples(x, (said + 1) % 4))
  assert lanes.best.success.all()
  assert (lanes.best.delta == 0).all() and (lanes.best.size == 0).all()


@EACH_ATTACK
@pytest.mark.parametrize("targeted", [False, True])
def test_sets_of_labels_are_attacked_or_refused(row, targeted):
  """A success is another set, or the wanted one, and inside the threat."""
  said = np.float64(Curved.logits(VICTIM, CLIPS.x.T)).T
  sets = (said > 0).astype(np.int32)
  target = sets.copy()
  at = np.arange(len(sets)), np.abs(said).argmin(1)
  target[at] = 1 - sets[at]  # the label that is least sure
  batch = CLIPS._replace(label=sets, target=target)
  aims = losses.targeted_labels, losses.untargeted_labels
  bound = problem.bind(Curved.logits, row.threat, aims[0 if targeted else 1]())
  solve = drive.solve_batch(drive.driver(row.attack, bound))
  key = jax.random.key(0)
  refused = "has no targeted form" if targeted and not row.attack.targetable else ""
  if refused or not row.attack.label_sets:
    with pytest.raises(InputError, match=refused or "set of labels"):
      solve(tuple(VICTIM), key, batch)
    return
  best = jax.device_get(solve(tuple(VICTIM), key, batch).best)
  x = np.float64(CLIPS.x) + best.delta
  heard = np.float64(VICTIM.readout) @ np.tanh(np.float64(VICTIM.hidden) @ x.T)
  become = (heard.T > 0).astype(np.int32)
  won = (become == target).all(1) if targeted else (become != sets).any(1)
  clear = np.abs(heard).min(0) > 1e-4
  np.testing.assert_array_equal(best.success[clear], won[clear])
  assert won.any()
  assert (best.delta[CLIPS.mask == 0] == 0).all() and inside(x)
  assert max(SIZE[row.norm](d) for d in np.float64(best.delta)) <= row.radius * 1.00001


@EACH_ATTACK
def test_a_targeted_success_is_the_target_and_inside_the_threat(row):
  """And at least half of the clips are nearer to it than they were."""
  if not row.attack.targetable:
    pytest.skip("no targeted form")
  target = (CLIPS.label + 1 + np.arange(len(CLIPS.x)) % 3) % 4
  run = solver(row.attack, row.threat, Curved, objective=losses.targeted())
  best = run(VICTIM, CLIPS._replace(target=target)).best
  delta = best.delta.astype(np.float64)
  x = np.float64(CLIPS.x) + delta
  logits = np.float64(VICTIM.readout) @ np.tanh(np.float64(VICTIM.hidden) @ x.T)
  others = np.where(np.arange(4)[:, None] == target, -np.inf, logits).max(0)
  margin = others - logits[target, np.arange(len(x))]
  clear = np.abs(margin) > 1e-4
  np.testing.assert_array_equal(best.success[clear], (margin < 0)[clear])
  assert (delta[CLIPS.mask == 0] == 0).all() and inside(x)
  assert max(SIZE[row.norm](d) for d in delta) <= row.radius * (1 + 1e-5)
  log_probs = logits - np.log(np.exp(logits).sum(0))
  expected = -log_probs[target, np.arange(len(x))]
  np.testing.assert_allclose(best.loss, expected, 1e-4, 1e-5)
  before = np.float64(Curved.logits(VICTIM, CLIPS.x.T))
  clean = np.log(np.exp(before).sum(0)) - before[target, np.arange(len(x))]
  assert (best.loss < clean - 0.01).mean() >= 0.5
