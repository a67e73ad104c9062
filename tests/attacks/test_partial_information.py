"""The partial-information attack against the linf optimum of linear programs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import N, fooled, points, solve
from scipy import optimize
from small_victims import Linear, examples, linear, now_and_then

from jaxadv import attacks, core, drive, losses, problem
from jaxadv.norms import NORMS

LINF = problem.Threat(NORMS["linf"])
CLASSES = 4


def targeted_linf_optimum(victim: Linear, x: np.ndarray, target: int) -> float:
  """min |d|_inf s.t. f_target >= f_k for every k and -1 <= x + d <= 1."""
  others = [k for k in range(CLASSES) if k != target]
  rows = np.float64(victim.weights[target]) - victim.weights[others]
  gaps = rows @ x + np.float64(victim.offset[target]) - victim.offset[others]
  each, ones = np.eye(N), np.ones((N, 1))
  found = optimize.linprog(
    np.append(np.zeros(N), 1.0),
    A_ub=np.block([[-rows, np.zeros((len(rows), 1))], [each, -ones], [-each, -ones]]),
    b_ub=np.concatenate([gaps, np.zeros(2 * N)]),
    bounds=[*zip(-1 - x, 1 - x, strict=True), (0, None)],
  )
  assert found.success
  return found.x[-1]


@functools.cache
def towards_targets():
  """A victim, clips with targets, their linf distances, a clip of each class."""
  victim = linear(5, CLASSES, N)
  x, logits = points(victim, 6, 40)
  label = logits.argmax(1)
  starts = np.stack([x[np.argmax(logits[:, k])] for k in range(CLASSES)])
  assert (fooled(victim, starts, 0 * starts) == np.arange(CLASSES)).all()
  target = (label + 1 + np.arange(40) % 3) % CLASSES
  optimum = [
    targeted_linf_optimum(victim, *one)
    for one in zip(np.float64(x), target, strict=True)
  ]
  stack = examples(x, label, target)._replace(start=starts[target])
  return victim, stack, np.array(optimum)


def begin_there(**hyper) -> core.Attack:
  return attacks.partial_information(samples=20, **hyper)


def test_it_ends_in_the_ball_with_the_target_just_where_it_can():
  victim, stack, optimum = towards_targets()
  share = np.where(stack.id % 2, 1.3, 0.97)
  attack = begin_there(queries=5000)
  run = {"objective": losses.targeted(), "radius": share * optimum}
  lanes = solve(attack, LINF, victim, stack, **run)
  hit = fooled(victim, stack.x, lanes.best.delta) == stack.target
  assert (hit == (share > 1)).all(), hit[share > 1].mean()
  np.testing.assert_array_equal(lanes.best.success, hit)
  assert (lanes.best.size <= share * optimum + 1e-7).all()
  assert attack.steps == 5000 // attack.forward_passes
  # 20 around the candidate and 12 proposals
  assert (attack.forward_passes, attack.backward_passes) == (32, 0)


@pytest.mark.parametrize("aim", [losses.targeted(), losses.untargeted()])
def test_where_there_is_no_answer_the_wanted_class_is_not_seen(aim):
  """One answer of five is NaN: none of these points becomes the candidate."""
  victim, stack, optimum = towards_targets()
  threat = problem.Threat(NORMS["linf"], 1.3 * optimum.max())
  bind = problem.bind_random(now_and_then(0.2), threat, aim)
  solve = drive.solve_batch(drive.driver(begin_there(queries=3000), bind))
  best = jax.device_get(solve(tuple(victim), jax.random.key(0), stack)).best
  said = fooled(victim, stack.x, best.delta)
  won = said == stack.target if aim.targeted else said != stack.label
  assert won.mean() > 0.95, won.mean()


def test_without_a_start_it_begins_at_the_clean_clip():
  """Which a top_k of all classes shows in full; a top_k of 1 says too little."""
  victim, stack, optimum = towards_targets()
  stack = stack._replace(start=())
  attack = attacks.partial_information(samples=20, queries=2000, top_k=CLASSES)
  run = {"objective": losses.targeted(), "radius": 1.3 * optimum}
  lanes = solve(attack, LINF, victim, stack, **run)
  assert lanes.best.success.all()


class NoGradient(Linear):
  """A Linear whose gradient is NaN."""

  @staticmethod
  def logits(params, x):
    heard = jax.custom_vjp(lambda x: Linear.logits(params, x))
    heard.defvjp(lambda x: (Linear.logits(params, x), x), lambda x, g: (x * jnp.nan,))
    return heard(x)


class TopTwo(Linear):
  """A Linear that tells two classes, and of the rest only what they share."""

  @staticmethod
  def logits(params, x):
    logits = Linear.logits(params, x)
    told = logits >= jax.lax.top_k(logits, 2)[0][-1]
    rest = jax.nn.logsumexp(jnp.where(told, -jnp.inf, logits))
    return jnp.where(told, logits, rest - jnp.log(CLASSES - 2))


def test_it_needs_neither_gradient_nor_what_is_not_among_the_best_k():
  victim, stack, optimum = towards_targets()
  attack = begin_there(queries=500, top_k=2)
  run = {"objective": losses.targeted(), "radius": 1.1 * optimum}
  lanes = solve(attack, LINF, victim, stack, **run)
  assert 0.1 < lanes.best.success.mean() < 0.9
  blind = solve(attack, LINF, NoGradient(*victim), stack, **run)
  np.testing.assert_array_equal(blind.best.delta, lanes.best.delta)
  told = solve(attack, LINF, TopTwo(*victim), stack, **run)
  np.testing.assert_allclose(told.state.candidate, lanes.state.candidate, atol=1e-4)
  np.testing.assert_array_equal(told.best.success, lanes.best.success)


def test_the_candidate_stays_of_the_wanted_class_in_a_ball_that_shrinks():
  """From the start's own ball to the threat's. Untargeted: the class of the start."""
  victim, stack, optimum = towards_targets()
  stack = jax.tree.map(lambda leaf: leaf[:8], stack)
  bind = problem.bind(Linear.logits, LINF._replace(radius=0.01), losses.untargeted())
  attack = begin_there()

  def begin(example):
    return attack.init(jax.random.key(0), bind(tuple(victim), None, example))

  def step(key, state, example):
    return attack.step(key, state, bind(tuple(victim), None, example))

  state, states = jax.jit(jax.vmap(begin))(stack), []
  take = jax.jit(jax.vmap(step, (None, 0, 0)))
  first = np.abs(stack.start - stack.x).max(1)
  np.testing.assert_allclose(state.epsilon, first, rtol=1e-6)
  for key in jax.random.split(jax.random.key(1), 25):
    state = take(key, state, stack)
    states.append(jax.device_get(state))
  for old, new in itertools.pairwise(states):
    assert (fooled(victim, stack.x, new.candidate) == stack.target).all()
    assert (np.abs(new.candidate).max(1) <= new.epsilon * (1 + 1e-6)).all()
    assert (new.epsilon <= old.epsilon).all()
    assert (new.wanted == stack.target).all()
  # no further than the boundary lets it, and most of the way there
  least = np.maximum(optimum[:8], 0.01)
  assert (states[-1].epsilon >= least * (1 - 1e-6)).all()
  assert (states[-1].epsilon < (first + least) / 2).all()


ORACLE = test_it_ends_in_the_ball_with_the_target_just_where_it_can
