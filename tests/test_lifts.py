"""Expectation over transforms, straight-through gradients, victims of probabilities.

Over 300 lines: one victim, its clips and one attack serve all of its tests.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats
from small_victims import Curved, curved, examples, linear, solver

from jaxadv import core, drive, losses, norms, problem
from jaxadv.attacks import pgd

N = 12
VICTIM = curved(2)
X = np.random.default_rng(0).uniform(-0.6, 0.6, (40, N)).astype(np.float32)
LABEL = Curved.logits(VICTIM, X.T).argmax(0)
CLIPS = examples(X, LABEL)
KEY = jax.random.key(0)


def attack(bind, stack=CLIPS, steps=20):
  driver = drive.driver(pgd(steps=steps), bind, core.STRONGEST)
  run = jax.vmap(functools.partial(drive.solve, driver), (None, None, 0))
  lanes = jax.jit(run)(tuple(VICTIM), KEY, stack)
  return jax.device_get(lanes.best)


def test_the_expectation_is_that_of_the_probabilities():
  """Of a linear victim under Gaussian noise: an integral that scipy knows."""
  victim = linear(1, 2, N)
  snr_db, x = 3.0, X[0]
  logits = problem.expect(
    lambda params, x: victim.logits(params, x), problem.add_noise(snr_db), 20000
  )
  found = np.exp(jax.jit(logits)(tuple(victim), KEY, x))
  gap = np.float64(victim.weights[0]) - victim.weights[1]
  mean = gap @ x + victim.offset[0] - victim.offset[1]
  # noise of a fixed l2 size: its part along `gap` is a coordinate of a random direction
  size = np.linalg.norm(x) * 10 ** (-snr_db / 20) * np.linalg.norm(gap)
  share = stats.beta((N - 1) / 2, (N - 1) / 2, loc=-1, scale=2)
  expected, _ = integrate.quad(
    lambda u: share.pdf(u) * special.expit(mean + size * u), -1, 1
  )
  np.testing.assert_allclose(found, [expected, 1 - expected], atol=0.01)


def test_noise_has_its_snr_and_gain_its_range():
  keys = jax.random.split(KEY, 200)
  noisy = jax.vmap(lambda key: problem.add_noise(20.0)(key, X[0]))(keys)
  ratio = np.linalg.norm(X[0]) / np.linalg.norm(noisy - X[0], axis=1)
  np.testing.assert_allclose(20 * np.log10(ratio), 20, atol=1e-3)
  assert np.std(noisy[:, 0]) > 1e-3
  loud = jax.vmap(lambda key: problem.vary_gain(6.0)(key, X[0]))(keys)
  gain_db = 20 * np.log10(np.asarray(loud)[:, 0] / X[0, 0])
  assert np.abs(gain_db).max() <= 6.001 and np.std(gain_db) > 3.0


def test_an_attack_through_the_noise_survives_it_better():
  """Judged under noise that neither attack has drawn."""
  threat = problem.Threat(norms.L2, 0.8)
  aim = losses.untargeted()
  plain = attack(problem.bind(Curved.logits, threat, aim))
  through = problem.expect(Curved.logits, problem.add_noise(0.0), 32)
  adapted = attack(problem.bind_random(through, threat, aim))
  rng = np.random.default_rng(9)
  noise = rng.normal(size=(300, 1, N))
  noise /= np.linalg.norm(noise, axis=2, keepdims=True)

  def survives(delta):
    x = np.float64(X + delta)
    heard = x + noise * np.linalg.norm(x, axis=1, keepdims=True)
    said = np.tanh(heard @ VICTIM.hidden.T) @ VICTIM.readout.T
    return (said.argmax(2) != LABEL).mean()

  assert survives(adapted.delta) > survives(plain.delta) + 0.02
  assert survives(plain.delta) > survives(0 * plain.delta)


def test_the_expectation_over_gains_and_its_gradient():
  """Against the mean over a fine grid of them; one gain alone is far from it."""
  through = problem.expect(Curved.logits, problem.vary_gain(12.0), 4000)

  def over_draws(x):
    return jax.nn.softmax(through(tuple(VICTIM), KEY, x))[LABEL[0]]

  def over_grid(x, most_db=12.0):
    gains = 10 ** (jnp.linspace(-most_db, most_db, 2001) / 20)[:, None]
    said = jax.vmap(lambda x: Curved.logits(tuple(VICTIM), x))(gains * x)
    return jax.nn.softmax(said)[:, LABEL[0]].mean()

  x = jnp.asarray(X[0])
  found, grad = jax.jit(jax.value_and_grad(over_draws))(x)
  expected, slope = jax.value_and_grad(over_grid)(x)
  np.testing.assert_allclose(found, expected, atol=0.01)
  np.testing.assert_allclose(grad, slope, atol=0.02)
  assert np.abs(jax.grad(over_grid)(x, 0.0) - slope).max() > 0.1


def test_sets_of_labels_behind_a_transform_are_sigmoids():
  """The log-odds of the mean of sigmoids, and the clean clip is no success."""
  through = problem.expect(Curved.logits, problem.vary_gain(6.0), 4000, multilabel=True)
  found = jax.jit(through)(tuple(VICTIM), KEY, X[0])
  gains = 10 ** (np.linspace(-6, 6, 2001) / 20)[:, None]
  heard = np.tanh(gains * X[0] @ VICTIM.hidden.T) @ VICTIM.readout.T
  np.testing.assert_allclose(
    special.expit(found), special.expit(heard).mean(0), atol=0.01
  )
  sets = (Curved.logits(VICTIM, X.T).T > 0).astype(np.int32)
  sure = np.abs(Curved.logits(VICTIM, X.T)).min(0) > 0.3
  stack = examples(X, 0)._replace(label=sets, mask=np.ones_like(X))
  threat, aim = problem.Threat(norms.L2, 0.8), losses.untargeted_labels()
  quiet = lambda key, x, length: x * (1 + 0.001 * jax.random.normal(key))  # noqa: E731
  bind = problem.bind_through(Curved.logits, threat, aim, quiet, 2)

  def clean(example):
    here = bind(tuple(VICTIM), KEY, example)
    return here.evaluate(here.zero).success

  assert sure.sum() > 5
  assert not jax.vmap(clean)(stack)[sure].any()
  assert attack(bind, stack).success.mean() > 0.5


def test_a_key_a_step_and_the_same_result_for_the_same_seed():
  through = problem.expect(Curved.logits, problem.add_noise(0.0), 2)
  bind = problem.bind_random(
    through, problem.Threat(norms.L2, 0.4), losses.untargeted()
  )
  one = core.Example(*(leaf[0] for leaf in CLIPS[:5]))
  said = [bind(tuple(VICTIM), jax.random.key(n), one).logits(0 * one.x) for n in (0, 1)]
  assert np.abs(said[0] - said[1]).max() > 1e-3
  first, again = attack(bind, steps=3), attack(bind, steps=3)
  np.testing.assert_array_equal(first.delta, again.delta)


COARSE = problem.quantise(4)  # steps of 1/8


def test_the_quantiser_rounds_to_signed_integers():
  x = jnp.float32([-1.0, -0.06, 0.0, 0.07, 0.5, 0.99, 1.0])
  expected = np.float32([-1, 0, 0, 0.125, 0.5, 0.875, 0.875])
  np.testing.assert_array_equal(COARSE(x), expected)


def test_straight_through_is_exact_forward_and_the_identity_backward():
  through = problem.straight_through(Curved.logits, COARSE)
  said, pull = jax.vjp(lambda x: through(tuple(VICTIM), x), jnp.asarray(X[0]))
  heard = COARSE(jnp.asarray(X[0]))
  expected, exact = jax.vjp(lambda x: Curved.logits(tuple(VICTIM), x), heard)
  np.testing.assert_array_equal(said, expected)
  for cotangent in jnp.eye(4):
    np.testing.assert_allclose(pull(cotangent)[0], exact(cotangent)[0], rtol=1e-5)


def test_bpda_breaks_a_quantiser_that_a_plain_gradient_cannot():
  threat, aim = problem.Threat(norms.LINF, 0.15), losses.untargeted()
  defended = lambda params, x: Curved.logits(params, COARSE(x))  # noqa: E731
  right = Curved.logits(VICTIM, np.asarray(COARSE(X)).T).argmax(0) == LABEL
  plain = attack(problem.bind(defended, threat, aim))
  assert (plain.grad_size == 0).all()
  through = problem.straight_through(Curved.logits, COARSE)
  best = attack(problem.bind(through, threat, aim))
  heard = np.asarray(COARSE(X + best.delta))
  fooled = Curved.logits(VICTIM, heard.T).argmax(0) != LABEL
  np.testing.assert_array_equal(fooled, best.success)
  assert fooled[right].mean() > plain.success[right].mean() + 0.3


def probabilities(params, x):
  return jax.nn.softmax(Curved.logits(params, x))


def test_a_victim_of_probabilities_is_attacked_like_its_logits():
  """The same PGD, step by step; and not so where probabilities pass for logits."""
  threat, aim = problem.Threat(norms.L2, 0.3), losses.untargeted()
  logs = problem.from_probabilities(probabilities)
  of = [problem.bind(f, threat, aim) for f in (Curved.logits, logs, probabilities)]
  logit, right, wrong = (attack(bind) for bind in of)
  np.testing.assert_allclose(right.delta, logit.delta, atol=1e-4)
  np.testing.assert_allclose(right.loss, logit.loss, atol=1e-4)
  assert np.abs(wrong.delta - logit.delta).max() > 1e-2


def test_log_odds_are_those_of_the_sigmoid():
  z = np.linspace(-9, 9, 7).astype(np.float32)
  logits = problem.from_probabilities(lambda params, x: jax.nn.sigmoid(x), True)
  np.testing.assert_allclose(logits((), jnp.asarray(z)), z, rtol=1e-3)
  hard = problem.from_probabilities(lambda params, x: x)(None, jnp.float32([0, 1]))
  assert np.isfinite(hard).all()


def sigmoids(rule):
  """PGD's share of successes on label sets, as the loop and as numpy see it."""
  victim = linear(5, 6, N)
  rng = np.random.default_rng(1)
  x = rng.uniform(-0.5, 0.5, (60, N)).astype(np.float32)
  clean = x @ victim.weights.T + victim.offset > 0
  some = clean.any(1)
  x, clean = x[some], clean[some]
  stack = core.examples(x, clean.astype(np.int32))
  run = solver(
    pgd(steps=30),
    problem.Threat(norms.L2, 0.25),
    type(victim),
    objective=losses.untargeted_labels(rule),
  )
  best = run(victim, stack).best
  now = (np.float64(x) + best.delta) @ victim.weights.T + victim.offset > 0
  return clean, now, best.success


@pytest.mark.parametrize(
  "rule, won",
  [
    ("any_changed", lambda old, new: (old != new).any(1)),
    ("any_missed", lambda old, new: (old & ~new).any(1)),
    ("all_missed", lambda old, new: (old & ~new).sum(1) == old.sum(1)),
  ],
)
def test_label_sets_are_attacked_by_their_rule(rule, won):
  clean, now, success = sigmoids(rule)
  np.testing.assert_array_equal(success, won(clean, now))
  assert success.mean() > 0.05 and not won(clean, clean).any()


def test_a_target_set_is_reached_whole():
  victim = linear(5, 6, N)
  rng = np.random.default_rng(1)
  x = rng.uniform(-0.5, 0.5, (40, N)).astype(np.float32)
  clean = (x @ victim.weights.T + victim.offset > 0).astype(np.int32)
  target = np.full_like(clean, -1)
  target[:, 1], target[:, 4] = 1, 0
  stack = core.examples(x, clean, target)
  run = solver(
    pgd(steps=50),
    problem.Threat(norms.L2, 3.0, box=(-9.0, 9.0)),
    type(victim),
    objective=losses.targeted_labels(),
  )
  best = run(victim, stack).best
  now = (np.float64(x) + best.delta) @ victim.weights.T + victim.offset > 0
  assert best.success.all() and now[:, 1].all() and not now[:, 4].any()


def test_through_a_transform_is_the_victim_behind_it_where_the_mask_is():
  """A transform without randomness, in closed form; the padding is left alone."""
  clip = jax.tree.map(lambda leaf: leaf[0], CLIPS)
  mask = (np.arange(N) < 8).astype(np.float32)
  clip = clip._replace(mask=jnp.asarray(mask))
  threat = problem.Threat(norms.L2, 0.5)
  bind = problem.bind_through(
    Curved.logits, threat, losses.untargeted(), lambda key, x, length: 1 - x, draws=3
  )
  bound = bind(tuple(VICTIM), KEY, clip)
  delta = np.linspace(-0.2, 0.2, N).astype(np.float32)
  moved = X[0] + delta * mask
  heard = np.where(mask != 0, 1 - moved, moved)
  found = jax.nn.softmax(bound.logits(delta))
  expected = special.softmax(np.float64(Curved.logits(VICTIM, heard)))
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_every_step_hears_another_draw():
  clip = jax.tree.map(lambda leaf: leaf[0], CLIPS)
  threat = problem.Threat(norms.L2, 0.5)
  bind = problem.bind_through(
    Curved.logits, threat, losses.untargeted(), problem.add_noise(0.0), draws=2
  )
  found = [
    np.asarray(bind(tuple(VICTIM), jax.random.key(n), clip).logits(np.zeros(N)))
    for n in (0, 1, 0)
  ]
  np.testing.assert_array_equal(found[0], found[2])
  assert np.abs(found[0] - found[1]).max() > 1e-3


def test_a_set_counts_its_members_alike_however_often_they_are_drawn():
  heard = [lambda key, x: 2 * x, lambda key, x: -x]
  logits = problem.expect(Curved.logits, heard, [1, 3])
  found = jax.nn.softmax(logits(tuple(VICTIM), KEY, jnp.asarray(X[0])))
  said = [special.softmax(Curved.logits(VICTIM, c * np.float64(X[0]))) for c in (2, -1)]
  np.testing.assert_allclose(found, np.mean(said, axis=0), rtol=1e-4)
  assert np.abs(said[0] - said[1]).max() > 0.1


def test_one_perturbation_survives_a_set_of_transforms():
  """Three permutations of the samples: what fools after one is noise to the others."""
  orders = [np.random.default_rng(n).permutation(N) for n in range(3)]
  heard = [lambda key, x, length, order=order: x[order] for order in orders]
  threat = problem.Threat(norms.L2, 0.8)
  right = np.array(
    [Curved.logits(VICTIM, np.float64(X).T[order]).argmax(0) for order in orders]
  )
  clips = examples(X, right[0])

  def fooled(delta):
    moved = np.float64(X + delta).T
    now = [Curved.logits(VICTIM, moved[order]).argmax(0) for order in orders]
    return (np.array(now) != right[0]).all(axis=0)[(right == right[0]).all(axis=0)]

  rates = [
    fooled(
      attack(
        problem.bind_through(Curved.logits, threat, losses.untargeted(), some), clips
      ).delta
    ).mean()
    for some in (heard[:1], heard)
  ]
  assert rates[1] > rates[0] + 0.2
