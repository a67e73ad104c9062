"""Square Attack against closed forms and every corner, without a gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import WIDE, binary_margins, points, solve
from small_victims import DUAL, SIZE, Linear, examples, linear

from jaxadv import attacks, core, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat, bind

MARGIN = losses.untargeted(losses.margin_loss)  # so that loss is what a step accepts by


def strongest(attack, threat, victim, stack, **aims):
  return solve(
    attack, threat, victim, stack, goal=core.STRONGEST, objective=MARGIN, **aims
  )


# of the fall that the best point of the ball gives; the l1 ball's best point is one
# coordinate, and each proposal spreads over a window
@pytest.mark.parametrize("norm, share", [("linf", 0.999), ("l2", 0.8), ("l1", 0.7)])
def test_square_comes_near_the_worst_point_of_the_ball(norm, share):
  victim = linear(7, 2, 20)
  x, logits = points(victim, 8, 50)
  stack = examples(x, logits.argmax(1))
  w, _ = binary_margins(victim, stack)
  threat, radius = Threat(NORMS[norm], box=WIDE), 0.1
  lanes = strongest(attacks.square(steps=300), threat, victim, stack, radius=radius)
  fall = -(w * lanes.best.delta).sum(1)
  best = radius * np.array([DUAL[norm](v) for v in w])
  assert (fall <= best * 1.0001).all()
  assert (fall / best).mean() >= share, np.sort(fall / best)
  np.testing.assert_array_less(SIZE[norm](lanes.best.delta[0]), radius * 1.0001)


def test_square_finds_the_best_of_all_corners():
  """Of the box as well as the ball, on a victim of 6 samples with a mask."""
  victim = linear(3, 2, 6)
  x = np.random.default_rng(4).uniform(-1, 1, (40, 6)).astype(np.float32)
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  mask = np.arange(6)[None] != np.arange(40)[:, None] % 6
  radius = 0.4
  lanes = strongest(
    attacks.square(steps=200),
    Threat(NORMS["linf"], radius),
    victim,
    examples(x, label, mask=mask),
  )
  corners = np.array(list(itertools.product((-radius, radius), repeat=6)))
  for at in range(40):
    every = np.clip(x[at] + corners * mask[at], -1, 1)
    logits = every.astype(np.float64) @ victim.weights.T + victim.offset
    own = logits[:, label[at]].copy()
    logits[:, label[at]] = -np.inf
    best = (own - logits.max(1)).min()
    np.testing.assert_allclose(lanes.best.loss[at], best, 1e-4, 1e-5)


class Gradientless(Linear):
  """Linear, with a gradient of NaN."""

  @staticmethod
  def logits(params, x):
    @jax.custom_vjp
    def silent(x):
      return Linear.logits(params, x)

    silent.defvjp(
      lambda x: (silent(x), None), lambda _, grad: (jnp.full(x.shape, jnp.nan),)
    )
    return silent(x)


def test_square_needs_no_gradient():
  victim = linear(7, 4, 20)
  x, logits = points(victim, 8, 20)
  stack, threat = examples(x, logits.argmax(1)), Threat(NORMS["linf"], 0.1)
  attack = attacks.square(steps=60)
  clean, gradientless = (
    strongest(attack, threat, kind(*victim), stack) for kind in (Linear, Gradientless)
  )
  np.testing.assert_array_equal(clean.best.delta, gradientless.best.delta)
  assert (clean.best.size > 0).all()
  assert (gradientless.watch.nan_steps == 0).all()


@pytest.mark.parametrize(
  "norm, shape",
  [("linf", (24,)), ("linf", (6, 8)), ("linf", (6, 6, 2)), ("l2", (6, 8))],
)
def test_a_proposal_rewrites_one_window_of_any_shape(norm, shape):
  """It fills the ball, never says what is known, and shrinks to one coordinate."""
  radius, mask = 0.5, np.zeros(shape, np.float32)
  mask[1:-1] = 1
  example = core.Example(0, np.zeros(shape, np.float32), mask, 0, -1)
  # the score never falls, so every proposal starts from the first point
  bound = bind(lambda params, x: 0 * x.ravel()[:2], Threat(NORMS[norm], radius), MARGIN)
  one = bound(None, jax.random.key(0), example)
  attack = attacks.square(steps=100)
  state = attack.init(jax.random.key(1), one)
  take = jax.jit(lambda key, state: attack.step(key, state, one))
  grid = (*shape, 1, 1)[:3]
  first, areas = np.asarray(state.candidate), []
  for at in range(99):
    state = take(jax.random.key(at), state)
    candidate = np.asarray(state.candidate)
    assert (candidate[mask == 0] == 0).all()
    np.testing.assert_allclose(SIZE[norm](candidate.ravel()), radius, 1e-5)
    changed = (np.abs(candidate - first) > 1e-6).reshape(grid).any(-1)
    assert changed.any()
    areas.append(changed.sum())
    if norm == "linf":
      rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
      block = candidate.reshape(grid)[
        rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
      ]
      np.testing.assert_array_equal(np.abs(block), radius)
      assert (block == block[0, 0]).all()
  assert max(areas[:5]) > 2 and max(areas[-15:]) <= (1 if norm == "linf" else 18)


@pytest.mark.parametrize("length", [4 * 256, 4 * 256 - 100])
def test_a_waveform_is_seen_as_rows_of_256_samples(length):
  """The first point repeats from row to row; proposals are rectangles over rows, of
  which the last may be cut off."""
  radius = 0.5

  def in_rows(values):
    padded = np.pad(np.asarray(values), (0, -length % 256), constant_values=np.nan)
    return padded.reshape(4, 256)

  x, mask = np.zeros(length, np.float32), np.ones(length, np.float32)
  bound = bind(lambda params, x: 0 * x[:2], Threat(NORMS["linf"], radius), MARGIN)
  one = bound(None, jax.random.key(0), core.Example(0, x, mask, 0, -1))
  attack = attacks.square(steps=40)
  state = attack.init(jax.random.key(1), one)
  first = in_rows(state.candidate)
  np.testing.assert_array_equal(state.candidate, np.tile(first[0], 4)[:length])
  np.testing.assert_array_equal(np.abs(state.candidate), radius)
  assert 64 < (first[0] > 0).sum() < 192
  take = jax.jit(lambda key, state: attack.step(key, state, one))
  tall = 0
  for at in range(39):
    state = take(jax.random.key(at), state)
    candidate = in_rows(state.candidate)
    rows, columns = np.nonzero((candidate != first) & ~np.isnan(first))
    block = candidate[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (block[~np.isnan(block)] == block[0, 0]).all()
    tall += len(block) > 1
  assert tall > 10


ORACLE = test_square_comes_near_the_worst_point_of_the_ball
