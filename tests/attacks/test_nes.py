"""NES: its estimate against the gradient, its points against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import WIDE, N, binary_margins, points, solve
from scipy import stats
from small_victims import DUAL, Curved, curved, examples, linear

from jaxadv import attacks, core, losses, problem
from jaxadv.norms import NORMS

LINF = problem.Threat(NORMS["linf"], 0.3)
SAMPLES = 20


def quadratic(seed: int):
  """x @ half @ x + slope @ x + 3, and its gradient, in float64."""
  rng = np.random.default_rng(seed)
  half, slope = rng.normal(size=(N, N)), rng.normal(size=N)
  curve = lambda x: (x @ half @ x + slope @ x + 3.0)[None]  # noqa: E731
  return curve, lambda x: (half + half.T) @ x + slope


def test_the_estimate_is_the_gradient_of_a_quadratic_in_expectation():
  """And its variance that of (u @ g) u for Gaussian u: |g|^2 + g_j^2 over the pairs."""
  curve, gradient_of = quadratic(0)
  x = np.random.default_rng(1).uniform(-0.5, 0.5, N).astype(np.float32)
  truth = gradient_of(np.float64(x))
  value = lambda logits, label, target: logits[0]  # noqa: E731
  bind = problem.bind(
    lambda params, x: curve(x), LINF, losses.Objective(value, value, 0.0)
  )
  bound = bind(
    None, jax.random.key(0), core.Example(0, jnp.array(x), 1.0 + 0 * x, 0, -1)
  )
  attack = attacks.nes(samples=SAMPLES, momentum=0.0, sigma=0.1)

  def estimate(key):
    return attack.step(key, attack.init(key, bound), bound).gradient

  draw = jax.jit(jax.vmap(estimate))
  drawn = np.float64(draw(jax.random.split(jax.random.key(2), 3000)))
  variance = ((truth**2).sum() + truth**2) / (SAMPLES / 2)
  score = (drawn.mean(0) - truth) / np.sqrt(variance / len(drawn))
  assert (score**2).sum() < stats.chi2.ppf(0.999, N)
  np.testing.assert_allclose(drawn.var(0), variance, rtol=0.15)


@functools.cache
def against_linear():
  victim = linear(7, 2, N)
  x, logits = points(victim, 8, 30)
  stack = examples(x, logits.argmax(1), 1 - logits.argmax(1))
  return victim, stack, binary_margins(victim, stack)[0]


# in l1 all goes to one sample, and an estimate may name the second largest
@pytest.mark.parametrize("norm, least", [("l1", 0.8), ("l2", 0.95), ("linf", 0.95)])
def test_nes_takes_most_of_what_the_ball_has_to_give(norm, least):
  """A share of radius * dual(w), the largest fall of the margin; targeted as well."""
  victim, stack, w = against_linear()
  attack = attacks.nes(queries=1000, samples=SAMPLES)
  threat = problem.Threat(NORMS[norm], 0.1, box=WIDE)
  for aim in (losses.untargeted, losses.targeted):
    run = {"objective": aim(losses.margin_loss), "goal": core.STRONGEST}
    lanes = solve(attack, threat, victim, stack, **run)
    fall = -(w * lanes.best.delta).sum(1)
    share = fall / (0.1 * np.array([DUAL[norm](v) for v in w]))
    assert share.min() >= least and share.mean() >= 0.95, np.sort(share)
    assert share.max() < 1.0001
    assert (lanes.step == 1000 // (SAMPLES + 1)).all()
  assert attack.forward_passes == SAMPLES + 1 and attack.backward_passes == 0


class NoGradient(Curved):
  """A Curved whose gradient is NaN."""

  @staticmethod
  def logits(params, x):
    heard = jax.custom_vjp(lambda x: Curved.logits(params, x))
    heard.defvjp(lambda x: (Curved.logits(params, x), x), lambda x, g: (x * jnp.nan,))
    return heard(x)


def test_nes_needs_no_gradient():
  victim = curved(4)
  x = np.random.default_rng(5).uniform(-1, 1, (20, 12)).astype(np.float32)
  stack = examples(x, Curved.logits(victim, x.T).argmax(0))
  attack = attacks.nes(queries=300, samples=SAMPLES)
  plain = solve(attack, LINF, victim, stack)
  blind = solve(attack, LINF, NoGradient(*victim), stack)
  assert plain.best.success.mean() > 0.3
  assert (plain.best.delta != 0).any()
  np.testing.assert_array_equal(blind.best.delta, plain.best.delta)
  np.testing.assert_array_equal(blind.step, plain.step)


def test_the_rate_halves_where_the_loss_rose_over_a_plateau():
  """Replayed from the losses: floor, patience, and a fresh start after each halving."""
  victim = curved(4)
  x = np.random.default_rng(6).uniform(-1, 1, 12).astype(np.float32)
  label = int(Curved.logits(victim, x).argmax())
  example = core.Example(0, jnp.array(x), jnp.ones(12), label, -1)
  bound = problem.bind(Curved.logits, LINF, losses.untargeted())(
    tuple(victim), jax.random.key(0), example
  )
  attack = attacks.nes(samples=4, learning_rate=2.0, least_rate=0.3, plateau=3)
  step = jax.jit(lambda key, state: attack.step(key, state, bound))
  state, recent, rate, halvings = attack.init(jax.random.key(1), bound), [], 2.0, 0
  for i in range(60):
    state = step(jax.random.key(i), state)
    recent = [*recent, float(state.trial.loss)][-3:]
    if len(recent) == 3 and recent[-1] > recent[0]:
      rate, recent, halvings = max(rate / 2, 0.3), [], halvings + 1
    assert float(state.rate) == np.float32(rate)
  assert halvings >= 4


ORACLE = test_nes_takes_most_of_what_the_ball_has_to_give
