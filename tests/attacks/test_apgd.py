"""Auto-PGD against its algorithms in numpy, closed forms, and PGD.

Over 300 lines: the algorithms share the projections and the victim they are played on.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import N, points
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize
from small_victims import DUAL, Curved, Linear, curved, examples, linear, solver

from jaxadv import attacks, core, losses, problem
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

WITHIN = {"l1": 1e-2, "l2": 1e-3, "linf": 1e-3}
EACH_NORM = pytest.mark.parametrize("norm", list(WITHIN))
ROOMY, TIGHT = (-2.0, 2.0), (-0.6, 0.6)


def most(w, low, high, radius, norm):
  """max -<w, d> over the ball and low <= d <= high; in l2 of a ball inside the box."""
  room = np.where(w > 0, -low, high)
  if norm == "linf":
    return (np.abs(w) * np.minimum(room, radius)).sum()
  if norm == "l2":
    return radius * DUAL["l2"](w)
  order = np.argsort(-np.abs(w))
  before = np.cumsum(room[order]) - room[order]
  return (np.abs(w[order]) * np.clip(radius - before, 0, room[order])).sum()


@functools.cache
def on_linear(norm, loss=losses.margin_loss):
  attack, threat = attacks.apgd(steps=50), Threat(NORMS[norm], box=ROOMY)
  objective = losses.untargeted(loss)
  return solver(attack, threat, Linear, objective=objective, goal=core.STRONGEST)


def short_of_worst(norm, victim, radius, seeds):
  """How much less than the worst point lowers it apgd lowers the margin. -> [B].

  The worst: over the other classes t, the least of f_y - f_t - most(w_y - w_t).
  """
  x, logits = points(victim, 8, 50)
  label, w = logits.argmax(1), victim.weights.astype(np.float64)
  run, stack = on_linear(norm), examples(x, label)
  deltas = [run(victim, stack, seed, radius).best.delta for seed in range(seeds)]
  short = []
  for at, y in enumerate(label):
    clean = np.float64(x[at])
    low, high = ROOMY[0] - clean, ROOMY[1] - clean
    others = sorted(set(range(len(w))) - {y})
    lead = logits[at, y] - logits[at, others]
    falls = [most(w[y] - w[t], low, high, radius, norm) for t in others]
    worst = (lead - falls).min()
    reached = min((lead + (w[y] - w[others]) @ d[at]).min() for d in deltas)
    short.append((reached - worst) / (lead.min() - worst))
  return np.array(short)


@pytest.mark.parametrize(
  "norm, radius",  # the larger ones meet the box
  [("linf", 0.2), ("linf", 2.0), ("l2", 0.5), ("l1", 1.0), ("l1", 4.0)],
)
def test_apgd_finds_the_worst_point_of_ball_and_box(norm, radius):
  """Of a victim of two classes; the others are out of reach."""
  victim = linear(7, 4, N)
  victim.weights[2:], victim.offset[2:] = 0, -100
  short = short_of_worst(norm, victim, radius, seeds=1)
  assert short.min() > -1e-5
  assert short.max() < WITHIN[norm], np.sort(short)[-6:]


@EACH_NORM
def test_apgd_on_dlr_finds_the_worst_point(norm):
  """Of three classes of which one is far below: DLR is the margin over a constant."""
  victim = linear(7, 3, N)
  victim.weights[2], victim.offset[2] = victim.weights[:2].mean(0), -50
  x, logits = points(victim, 8, 50)
  label = logits.argmax(1)
  w = np.float64(victim.weights[label] - victim.weights[1 - label])
  radius = {"l1": 1.0, "l2": 0.5, "linf": 0.1}[norm]
  lanes = on_linear(norm, losses.dlr)(victim, examples(x, label), radius=radius)
  low, high = ROOMY[0] - np.float64(x), ROOMY[1] - np.float64(x)
  expected = np.array(
    [most(*one, radius, norm) for one in zip(w, low, high, strict=True)]
  )
  fall = -(w * lanes.best.delta).sum(1)
  assert (fall / expected).min() > 1 - WITHIN[norm]
  assert (fall / expected).max() < 1 + 1e-5


@EACH_NORM
def test_apgd_finds_the_worst_class(norm):
  """At most points: which class a descent ends in is decided by its start."""
  radius = {"l1": 1.0, "l2": 0.5, "linf": 0.1}[norm]
  short = short_of_worst(norm, linear(9, 4, N), radius, seeds=8)
  assert short.min() > -1e-5
  assert (short < WITHIN[norm]).mean() >= 0.8, np.sort(short)[-12:]


def algorithm_1(start, ask, project, radius, steps, rho, direction):
  """Croce and Hein, ICML 2020, on whole histories. ask: d -> f, gradient; f goes up.

  With the authors' code's checkpoints and its <= in condition 1, and in place of
  condition 2 a step size that no two checkpoints in a row leave as it is.
  -> points, how often condition 1 halved the step size, and how often only its turn.
  """
  w, until = [0], steps * 22 // 100
  while w[-1] + until <= steps:
    w.append(w[-1] + until)
    until = max(until - max(steps * 3 // 100, 1), steps * 6 // 100, 1)
  f, g = ask(start)
  x, f, best = [start], [f], [(f, start, g)]
  eta, at, before, halvings = [2 * radius], start, start, np.zeros(2, int)
  for k in range(steps):
    z = project(at + eta[k] * direction(g))
    a = 0.75 if k else 1.0
    at, before = project(at + a * (z - at) + (1 - a) * (at - before)), at
    new, g = ask(at)
    x.append(at)
    f.append(new)
    best.append((new, at, g) if new > best[k][0] else best[k])
    eta.append(eta[k])
    if k + 1 in w:
      last = w[w.index(k + 1) - 1]
      rose = sum(f[i + 1] > f[i] for i in range(last, k + 1))
      fell_short = rose <= rho * (k + 1 - last)
      in_turn = last > 0 and eta[last] == eta[last - 1]
      halvings += fell_short, in_turn and not fell_short
      if fell_short or in_turn:
        eta[k + 1] /= 2
        _, at, g = best[k + 1]
  return np.array(x), halvings


def mind_the_box(start, ask, project, radius, steps, onward=False):
  """l1-APGD, in the same way, but that what is below 0.3% of the largest counts as 0.
  -> points, how often eta was reset, how often it fell."""

  def counting(point):
    return np.count_nonzero(np.abs(point) > 0.003 * np.abs(point).max())

  eta, kept, nonzero, at = radius, 0.2 * start.size, start.size, start
  if onward:
    nonzero = counting(start)
    kept = nonzero / 1.5
  f, g = ask(start)
  x, best, changes = [start], (f, start, g), np.zeros(2, int)
  for k in range(1, steps + 1):
    chosen = np.argsort(-np.abs(g))[: max(int(kept), 1)]
    u = np.zeros_like(start)
    u[chosen] = np.sign(g[chosen])
    at = project(at + eta * u / np.abs(u).sum())
    f, g = ask(at)
    x.append(at)
    best = (f, at, g) if f > best[0] else best
    if k % max(4 * steps // 100, 1) == 0:
      now = counting(best[1])
      reset = now / nonzero < 0.95
      eta = radius if reset else max(eta / 1.5, radius / 10)
      kept, nonzero = now / 1.5, now
      changes += reset, not reset
      at, g = best[1:] if reset else (at, g)
  return np.array(x), changes


def into_l1_ball_and_box(d, low, high, radius):
  def kept(t):
    return np.clip(np.sign(d) * np.maximum(np.abs(d) - t, 0), low, high)

  def excess(t):
    return np.abs(kept(t)).sum() - radius

  return kept(optimize.brentq(excess, 0, np.abs(d).max()) if excess(0) > 0 else 0)


values = hnp.arrays(np.float32, 8, elements=st.floats(-8, 8, width=16))


@settings(deadline=None, max_examples=50)
@given(delta=values, low=values, high=values, radius=st.floats(0.125, 32, width=16))
def test_the_l1_projection_is_exact_in_the_box_too(delta, low, high, radius):
  low, high = -np.abs(low), np.abs(high)
  found = INTO_L1(delta, np.float32(radius), low, high)
  expected = into_l1_ball_and_box(np.float64(delta), low, high, radius)
  np.testing.assert_allclose(found, expected, atol=2e-4)


INTO_L1 = jax.jit(NORMS["l1"].project)
VICTIM = curved(3, 5, 40)
STEPS = 40
RADII = {"l1": 1.5, "l2": 0.5, "linf": 0.2}


@functools.cache
def judged(method, norm, **hyper):
  """Every point that an attack judges, step by step. -> [B, attack.steps, n]."""
  attack = attacks.ATTACKS[method](steps=STEPS, **hyper)
  threat = Threat(NORMS[norm], RADII[norm], box=TIGHT)
  bind = problem.bind(Curved.logits, threat, losses.untargeted())

  def play(params, key, example):
    here = bind(params, key, example)

    def step(state, k):
      state = attack.step(jax.random.fold_in(key, k), state, here)
      return state, state.trial.delta

    return jax.lax.scan(step, attack.init(key, here), jnp.arange(attack.steps))[1]

  stack = clips()
  keys = jax.random.split(jax.random.key(0), len(stack.x))
  every = jax.jit(jax.vmap(play, (None, 0, 0)))
  return np.asarray(every(tuple(VICTIM), keys, stack), np.float64)


@functools.cache
def clips():
  """50 of them, each 3 times."""
  x = np.random.default_rng(1).uniform(-0.5, 0.5, (50, 40)).astype(np.float32)
  x = np.tile(x, (3, 1))
  return examples(x, np.asarray(Curved.logits(VICTIM, x.T)).argmax(0))


def cross_entropy(x, label):
  """And its gradient, in float64. [n] -> [], [n]."""
  readout, hidden = (np.float64(matrix) for matrix in VICTIM)
  inner = np.tanh(hidden @ x)
  logits = readout @ inner
  log_sum = np.log(np.exp(logits).sum())
  slope = np.exp(logits - log_sum) - np.eye(len(logits))[label]
  return log_sum - logits[label], ((readout.T @ slope) * (1 - inner**2)) @ hidden


def by_the_papers(norm, rho, x, label, start, radius, steps=STEPS, onward=False):
  low, high = TIGHT[0] - x, TIGHT[1] - x
  ask = lambda d: cross_entropy(x + d, label)  # noqa: E731
  unit = lambda d: d / np.linalg.norm(d)  # noqa: E731
  if norm == "l1":
    project = lambda d: into_l1_ball_and_box(d, low, high, radius)  # noqa: E731
    return mind_the_box(start, ask, project, radius, steps, onward)
  if norm == "l2":
    project = lambda d: np.clip(  # noqa: E731
      d * min(1, radius / np.linalg.norm(d)), low, high
    )
    return algorithm_1(start, ask, project, radius, steps, rho, unit)
  project = lambda d: np.clip(np.clip(d, -radius, radius), low, high)  # noqa: E731
  return algorithm_1(start, ask, project, radius, steps, rho, np.sign)


@pytest.mark.parametrize(
  "norm, rho", [("l1", 0.75), ("l2", 0.75), ("linf", 0.75), ("linf", 0.2)]
)
def test_apgd_takes_the_steps_of_the_papers(norm, rho):
  """All the points of two runs, from the same starts; 5% may part where they tie."""
  stack, courses = clips(), judged("apgd", norm, restarts=2, rho=rho)
  apart, changes = [], np.zeros(2, int)
  for at in range(0, len(courses), 4):
    for course in np.split(courses[at], 2):
      x = np.float64(stack.x[at])
      label, radius = stack.label[at], RADII[norm]
      expected, how = by_the_papers(norm, rho, x, label, course[0], radius)
      apart.append(np.abs(expected - course).max() / RADII[norm])
      changes += how
    assert np.abs(courses[at][0] - courses[at][STEPS + 1]).max() > 0.01 * RADII[norm]
  assert changes[0] > 10
  assert changes[1] > 10
  assert (np.array(apart) < 2e-3).mean() >= 0.95, np.sort(apart)[-8:]


def test_apgd_shrinks_its_ball_to_the_wanted_one():
  """All the points: 12 steps in 3 radii, 12 in 2 and 16 in 1, each run of the paper's
  from the best point of the one before, brought into the smaller ball. The last begins
  next to the worst point, where every fourth may part at a tie (to 1e-6)."""
  stack, courses = clips(), judged("apgd", "l1", shrink=True)
  apart, outside = [], 0
  for at in range(0, len(courses), 4):
    x, label, start = np.float64(stack.x[at]), stack.label[at], courses[at][0]
    ends, far = [13, 26], []
    for radius, course in zip(
      (4.5, 3.0, 1.5), np.split(courses[at], ends), strict=True
    ):
      start = into_l1_ball_and_box(start, TIGHT[0] - x, TIGHT[1] - x, radius)
      given = radius, len(course) - 1, radius < 4.5
      run, _ = by_the_papers("l1", 0.75, x, label, start, *given)
      start = max(run, key=lambda d, x=x, label=label: cross_entropy(x + d, label)[0])
      far.append(np.abs(run - course).max() / RADII["l1"])
    apart.append(far)
    outside += (np.abs(courses[at]).sum(1) > 1.01 * RADII["l1"]).sum()
  assert outside > 10 * len(apart)
  alike = (np.array(apart) < 2e-3).mean(0)
  assert (alike >= [0.95, 0.95, 0.75]).all(), alike


@EACH_NORM
def test_apgd_is_stronger_than_pgd_at_as_many_gradients(norm):
  """Their highest cross-entropy, on average over 50 clips and 3 seeds."""

  def highest(courses):
    each = zip(clips().x.astype(np.float64), clips().label, courses, strict=True)
    first_run = [(x + course[: STEPS + 1], label) for x, label, course in each]
    return np.mean(
      [max(cross_entropy(x, label)[0] for x in xs) for xs, label in first_run]
    )

  ours = highest(judged("apgd", norm, restarts=2, rho=0.75))
  assert ours > highest(judged("pgd", norm)) + 0.05


@settings(deadline=None, max_examples=30)
@given(
  grad=hnp.arrays(
    np.float32, 9, elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
  ),
  count=st.floats(0, 9, width=32),
)
def test_sparse_directions_are_the_largest_coordinates(grad, count):
  least = np.sort(np.abs(grad))[::-1][max(int(count), 1) - 1]
  chosen = np.where(np.abs(grad) >= least, np.sign(grad), 0)
  expected = chosen / max(np.abs(chosen).sum(), 1)
  np.testing.assert_allclose(SPARSE(grad, count), expected, 1e-6)


assert NORMS["l1"].sparse
SPARSE = jax.jit(NORMS["l1"].sparse)
ORACLE = test_apgd_takes_the_steps_of_the_papers
