"""The L-BFGS attack against scipy's and closed forms on linear victims."""

import jax.numpy as jnp
import numpy as np
from closed_forms import (
  RESOLVED,
  WIDE,
  N,
  fooled,
  minimal_distances,
  points,
  sizes,
  solve,
  towards_targets,
)
from scipy import optimize, special
from small_victims import examples, linear

from jaxadv import attacks, core, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


def penalised(victim, x, target, c):
  """|d|^2 + c * cross-entropy and its gradient, in float64."""
  weights, offset = np.float64(victim.weights), np.float64(victim.offset)

  def objective(d):
    logits = weights @ (x + d) + offset
    wrong = special.softmax(logits) - (np.arange(len(logits)) == target)
    loss = special.logsumexp(logits) - logits[target]
    return d @ d + c * loss, 2 * d + c * wrong @ weights

  return objective


def lowest(c):
  """By the penalised objective, whatever succeeds."""

  def value(trial):
    return jnp.sum(trial.delta**2) + c * trial.loss

  return core.Goal(lambda new, old: value(new) < value(old), lambda _: jnp.bool_(False))


def test_lbfgs_minimises_the_penalised_loss_within_the_box():
  """Where the penalty has one minimum: scipy's, in no more evaluations."""
  victim, stack, _ = towards_targets()
  c, box = 3.0, (-0.6, 0.6)
  lanes = solve(
    attacks.lbfgs(search_steps=1, c=c, shrink=0),
    Threat(NORMS["l2"], box=box),
    victim,
    stack,
    objective=losses.targeted(),
    goal=lowest(c),
  )
  evaluations, bound = [], []
  for at, x in enumerate(np.float64(stack.x)):
    objective = penalised(victim, x, stack.target[at], c)
    bounds = np.stack([box[0] - x, box[1] - x], 1)
    best, value, info = optimize.fmin_l_bfgs_b(objective, 0 * x, bounds=bounds)
    got, _ = objective(np.float64(lanes.best.delta[at]))
    assert abs(got - value) < 1e-5 * value
    np.testing.assert_allclose(lanes.best.delta[at], best, atol=3e-3)
    evaluations.append(info["funcalls"])
    bound.append((np.abs(x + best) > 0.6 - 1e-6).sum())
  assert 5 < np.count_nonzero(bound) < len(bound) - 5 and max(bound) >= 3
  assert lanes.step.mean() <= np.mean(evaluations)
  assert lanes.step.max() <= 30


def by_scipy(victim, x, target, searches, c=0.1):
  """l2 size of the smallest success of the published search, around scipy's."""
  lower, upper, found = 0.0, np.inf, np.inf
  for _ in range(searches):
    objective = penalised(victim, x, target, c)
    d, _, _ = optimize.fmin_l_bfgs_b(objective, 0 * x, bounds=[(-2, 2)] * len(x))
    if fooled(victim, x[None], d)[0] == target:
      found, upper = min(found, np.linalg.norm(d)), c
    else:
      lower = c
    c = (lower + upper) / 2 if np.isfinite(upper) else c * 10
  return found


def test_targeted_lbfgs_is_as_near_as_the_search_by_scipy():
  """The penalty counts all rivals, so even the right c ends above the optimum."""
  victim, stack, optimum = towards_targets()
  attack = attacks.lbfgs(search_steps=5, shrink=0)
  threat = Threat(NORMS["l2"], box=(-2.0, 2.0))
  lanes = solve(attack, threat, victim, stack, objective=losses.targeted())
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert (fooled(victim, stack.x, lanes.best.delta) == stack.target).all()
  assert ratio.min() > 0.9999
  for at in range(20):
    rival = by_scipy(victim, np.float64(stack.x[at]), stack.target[at], 5)
    assert ratio[at] < 1.002 * rival / optimum[at]


def test_as_published_only_the_ends_of_searches_count():
  """Each ends where scipy's does, well behind the boundary, or nowhere."""
  victim, stack, optimum = towards_targets()
  attack = attacks.lbfgs(search_steps=3, c=1.0, shrink=0, every_point=False)
  threat = Threat(NORMS["l2"], box=(-2.0, 2.0))
  lanes = solve(attack, threat, victim, stack, objective=losses.targeted())
  best = lanes.best
  expected = np.array(
    [
      by_scipy(victim, np.float64(x), target, 3, 1.0)
      for x, target in zip(stack.x, stack.target, strict=True)
    ]
  )
  np.testing.assert_array_equal(best.success, np.isfinite(expected))
  won = best.success
  assert won.mean() > 0.5
  np.testing.assert_allclose(best.size[won], expected[won], rtol=0.01)
  assert np.median(best.size[won] / optimum[won]) > 1.1


def test_targeted_lbfgs_reaches_the_minimal_distance():
  """With the margin loss, which counts one rival alone."""
  victim, stack, optimum = towards_targets()
  lanes = solve(
    attacks.lbfgs(),
    Threat(NORMS["l2"], box=(-2.0, 2.0)),
    victim,
    stack,
    objective=losses.targeted(losses.margin_loss),
  )
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert (fooled(victim, stack.x, lanes.best.delta) == stack.target).all()
  assert ratio.min() > 0.9999 and ratio.max() < 1.05
  assert (ratio < 1.01).mean() >= 0.9, np.sort(ratio)[-9:]


def test_untargeted_lbfgs_reaches_the_minimal_distance():
  """Clips so far inside that the penalty's minimum jumps over the boundary."""
  victim = linear(3, 2, N)
  x, logits = points(victim, 4)
  optimum = minimal_distances(victim, logits, "l2")
  far = optimum > RESOLVED
  x, label, optimum = x[far], logits.argmax(1)[far], optimum[far]
  attack = attacks.lbfgs(search_steps=6)
  threat = Threat(NORMS["l2"], box=WIDE)
  lanes = solve(attack, threat, victim, examples(x, label))
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert (fooled(victim, x, lanes.best.delta) != label).all()
  assert ratio.min() > 0.9999
  assert (ratio < 1.01).mean() >= 0.99 and ratio.max() < 1.05, np.sort(ratio)[-5:]
  assert np.ptp(np.abs(logits[:, 0] - logits[:, 1])) > 4


ORACLE = test_lbfgs_minimises_the_penalised_loss_within_the_box
