"""PGD and FGSM against closed forms on linear victims."""

import jax
import numpy as np
import pytest
from closed_forms import (
  LAST,
  WIDE,
  N,
  binary_margins,
  fooled,
  points,
  solve,
  towards_targets,
)
from small_victims import DUAL, SIZE, Curved, Linear, curved, examples, linear

from jaxadv import attacks, core, drive, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat, bind

EACH_NORM = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])


def test_targeted_pgd_reaches_the_target_just_where_it_can():
  victim, stack, optimum = towards_targets()
  share = np.where(stack.id % 2, 1.1, 0.97)
  reached = share > 1
  lanes = solve(
    attacks.pgd(steps=200),
    Threat(NORMS["l2"], box=WIDE),
    victim,
    stack,
    objective=losses.targeted(losses.margin_loss),
    radius=share * optimum,
  )
  hit = fooled(victim, stack.x, lanes.best.delta) == stack.target
  assert (hit == reached).all()
  assert (lanes.best.success == reached).all()


@EACH_NORM
def test_pgd_finds_the_worst_point_of_the_ball(norm):
  """The margin falls by radius * dual(w): the most that any point of the ball does."""
  victim = linear(7, 2, N)
  x, logits = points(victim, 8, 50)
  stack = examples(x, logits.argmax(1))
  w, clean = binary_margins(victim, stack)
  radius = 0.1
  lanes = solve(
    attacks.pgd(steps=100, step_size=0.1),
    Threat(NORMS[norm], radius, box=WIDE),
    victim,
    stack,
    goal=core.STRONGEST,
  )
  fall = -(w * lanes.best.delta).sum(1)
  best = radius * np.array([DUAL[norm](v) for v in w])
  np.testing.assert_allclose(fall, best, rtol=1e-3)
  # the loss that it reports is that of the point: log(1 + exp(-margin)), going down
  expected = -np.logaddexp(0, -(clean - fall))
  np.testing.assert_allclose(lanes.best.loss, expected, 1e-4, 1e-6)


@pytest.mark.parametrize("norm, most", [("l1", 0.02), ("l2", 0.05), ("linf", 0.05)])
def test_pgd_starts_well_within_the_radius(norm, most):
  """And where no other seed does; at the clean clip if told so."""
  x, logits = points(linear(7, 2, N), 8, 1)
  example = jax.tree.map(lambda leaf: leaf[0], examples(x, logits.argmax(1)))
  threat = Threat(NORMS[norm], 0.1, box=WIDE)
  here = bind(Linear.logits, threat, losses.untargeted())(None, None, example)
  keys = jax.random.split(jax.random.key(0), 50)
  starts = [np.asarray(attacks.pgd().init(key, here).candidate) for key in keys]
  sizes = np.array([SIZE[norm](start) for start in starts])
  assert 0.8 * most < sizes.max() <= most * (1 + 1e-5)
  assert len(np.unique(starts, axis=0)) > 45  # in l1 a few have no coordinate at all
  at_rest = attacks.pgd(random_start=False).init(keys[0], here).candidate
  np.testing.assert_array_equal(at_rest, np.zeros(N))


def paths_by_hand(victim, x, label, optimizer, decay, radius, share, steps):
  """delta at every step, on the cross-entropy in linf, in float64."""
  readout, hidden = np.float64(victim.readout), np.float64(victim.hidden)
  delta, first, second, path = np.zeros(len(x)), 0.0, 0.0, []
  for t in range(1, steps + 2):
    path.append(delta)
    inner = np.tanh(hidden @ (x + delta))
    logits = readout @ inner
    odds = np.exp(logits - logits.max())
    rise = (odds / odds.sum() - np.eye(len(logits))[label]) @ readout
    up = (rise * (1 - inner**2)) @ hidden
    if optimizer == "momentum":  # eq. 6 of Dong et al.
      first = decay * first + up / np.abs(up).sum()
      move = np.sign(first)
    else:
      scaled = up / np.abs(up).max()
      first = 0.9 * first + 0.1 * scaled
      second = 0.999 * second + 0.001 * scaled**2
      move = first / (1 - 0.9**t) / np.sqrt(second / (1 - 0.999**t))
    delta = np.clip(delta + share * radius * move, -radius, radius)
    delta = np.clip(x + delta, -1, 1) - x
  return np.array(path)


@pytest.mark.parametrize(
  "optimizer, decay", [("momentum", 1.0), ("momentum", 0.4), ("adam", 1.0)]
)
def test_momentum_and_adam_take_the_steps_of_their_definitions(optimizer, decay):
  victim, radius, share, steps = curved(4), 0.3, 0.15, 12
  x = np.random.default_rng(5).uniform(-1, 1, (20, 12)).astype(np.float32)
  label = Curved.logits(victim, x.T).argmax(0)
  attack = attacks.pgd(
    steps=steps,
    step_size=share,
    random_start=False,
    optimizer=optimizer,
    decay=decay,
  )
  bound = bind(Curved.logits, Threat(NORMS["linf"], radius), losses.untargeted())
  driver, key = drive.driver(attack, bound, core.STRONGEST), jax.random.key(0)

  def played(example):
    def advance(lane, _):
      lane = driver.advance(tuple(victim), key, lane, example)
      return lane, lane.state.trial.delta

    begun = driver.start(tuple(victim), key, example)
    return jax.lax.scan(advance, begun, length=attack.steps)[1]

  deltas = jax.jit(jax.vmap(played))(examples(x, label))
  plain = attacks.pgd(steps=steps, step_size=share, random_start=False)
  told = (optimizer, decay, radius, share, steps)
  expected = np.array(
    [paths_by_hand(victim, *one, *told) for one in zip(x, label, strict=True)]
  )
  np.testing.assert_allclose(deltas, expected, atol=1e-4)
  # which are not the plain ones
  threat, stack = Threat(NORMS["linf"], radius), examples(x, label)
  last = solve(plain, threat, victim, stack, goal=LAST).best.delta
  assert (np.abs(last - expected[:, -1]).max(1) > 0.01).mean() > 0.5


ORACLE = test_pgd_finds_the_worst_point_of_the_ball
