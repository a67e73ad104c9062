"""PGD and FGSM against closed forms on linear victims."""

import jax
import numpy as np
import pytest
from closed_forms import WIDE, N, binary_margins, fooled, points, solve, towards_targets
from small_victims import DUAL, SIZE, Linear, examples, linear

from jaxadv import attacks, core, losses
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


ORACLE = test_pgd_finds_the_worst_point_of_the_ball
