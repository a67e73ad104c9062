"""Runs from other starts, one after the other, of attacks that begin at random."""

import jax
import numpy as np
import pytest
from small_victims import Curved, curved, examples, solver

from jaxadv import attacks, core, drive, entries, losses, problem
from jaxadv.errors import InputError
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

VICTIM = curved(3, 5, 40)
X = np.random.default_rng(1).uniform(-0.5, 0.5, (60, 40)).astype(np.float32)
CLIPS = examples(X, Curved.logits(VICTIM, X.T).argmax(0))
THREAT = Threat(NORMS["linf"], 0.05)
ONCE = attacks.pgd(steps=3, step_size=0.3)


def trials(attack):
  """Of every clip, step by step: losses [B, steps]."""
  bind = problem.bind(Curved.logits, THREAT, losses.untargeted())
  driver = drive.driver(attack, bind, core.STRONGEST)

  def play(example):
    key = jax.random.key(0)
    lane = driver.start(tuple(VICTIM), key, example)

    def step(lane, _):
      lane = driver.advance(tuple(VICTIM), key, lane, example)
      return lane, lane.state.trial.loss

    return jax.lax.scan(step, lane, None, attack.steps)[1]

  return np.asarray(jax.jit(jax.vmap(play))(CLIPS))


def test_the_first_run_is_the_attacks_own_and_the_others_begin_elsewhere():
  alone, often = trials(ONCE), trials(attacks.repeat(ONCE, 3))
  assert often.shape == (60, 12)
  np.testing.assert_allclose(often[:, :4], alone, 1e-5)
  first, second, third = np.split(often, 3, axis=1)
  for one, other in ((first, second), (second, third)):
    assert (np.abs(one[:, 0] - other[:, 0]) > 1e-6).mean() > 0.9
    # each goes down from its own start
    assert (other[:, -1] < other[:, 0]).mean() > 0.9


def test_more_runs_win_more_clips_and_stop_at_the_first_success():
  won = []
  for runs in (1, 20):
    lanes = solver(attacks.repeat(ONCE, runs), THREAT, Curved)(VICTIM, CLIPS)
    won.append(lanes.best.success)
    assert (lanes.step[~lanes.best.success] == 4 * runs).all()
    assert (lanes.step[lanes.best.success] == lanes.watch.first_success[won[-1]]).all()
  assert (won[1] | ~won[0]).all() and won[1].sum() > won[0].sum() > 0


def test_a_run_that_ends_early_makes_room_for_the_next():
  """apgd_targeted ends when it has been to all classes."""
  attack = attacks.apgd_targeted(steps=2, targets=9)
  lanes = solver(attacks.repeat(attack, 2), Threat(NORMS["linf"], 1e-6), Curved)(
    VICTIM, CLIPS
  )
  assert not lanes.best.success.any()
  assert (lanes.step == 2 * (1 + 4 * 3)).all()


def test_a_config_asks_for_runs():
  entry = {"method": "pgd", "norm": "linf", "radius": 0.1, "steps": 9, "runs": 4}
  assert entries.attack_plan("a", entry, target=True).attack.steps == 40
  for changes, said in (
    ({"runs": 0}, "attacks.a.runs is 0: give at least 1"),
    ({"runs": 1.5}, "attacks.a.runs is 1.5"),
    ({"method": "autoattack"}, "attacks.a.runs is 4, which no ensemble has"),
  ):
    with pytest.raises(InputError, match=said):
      entries.attack_plan("a", entry | changes, target=False)
