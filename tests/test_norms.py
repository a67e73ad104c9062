"""Norms against scipy, closed-form duals, optimality certificates and moments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats
from small_victims import DUAL, SIZE

from jaxadv.errors import InputError
from jaxadv.norms import NORMS

SHAPE = (2, 4)  # not flat: a norm must not depend on the shape
NAMES = pytest.mark.parametrize("name", list(NORMS))
# l0 is no norm: its size does not scale and its ball is neither convex nor bounded
TRUE_NORMS = pytest.mark.parametrize("name", ["l1", "l2", "linf"])
PROJECT = {name: jax.jit(norm.project) for name, norm in NORMS.items()}
STEEPEST = {name: jax.jit(norm.steepest) for name, norm in NORMS.items()}
JIT_DUAL = {name: jax.jit(norm.dual) for name, norm in NORMS.items()}
JIT_SIZE = {name: jax.jit(norm.size) for name, norm in NORMS.items()}
DRAWS = {
  name: jax.jit(lambda keys, mask, s=norm.sample: jax.vmap(s, (0, None))(keys, mask))
  for name, norm in NORMS.items()
}
# few distinct magnitudes among them, so that ties and zeros are common
values = st.one_of(
  st.sampled_from([0.0, 1.0, -1.0, 2.0, -0.5]),
  st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
)
arrays = hnp.arrays(np.float32, SHAPE, elements=values)
radii = st.one_of(st.just(0.0), st.floats(2**-10, 2**11, width=32))


@NAMES
@settings(deadline=None, max_examples=30)
@given(delta=arrays)
def test_size_and_dual_are_the_closed_forms(name, delta):
  exact = delta.astype(np.float64)
  np.testing.assert_allclose(JIT_SIZE[name](delta), SIZE[name](exact), 1e-6, 1e-30)
  np.testing.assert_allclose(JIT_DUAL[name](delta), DUAL[name](exact), 1e-5, 1e-30)


@TRUE_NORMS
@settings(deadline=None, max_examples=30)
@given(delta=arrays, radius=radii)
def test_projection_is_the_nearest_point_of_the_ball(name, delta, radius):
  """p is nearest iff it is feasible and <d - p, q - p> <= 0 for every q of the ball;
  the worst q gives radius * dual(d - p)."""
  point = np.asarray(PROJECT[name](delta, radius), np.float64)
  scale = SIZE["linf"](delta) + radius
  size = SIZE[name](point)
  assert size <= radius * (1 + 1e-5) + 1e-6 * scale
  rest = delta - point
  excess = radius * DUAL[name](rest) - (rest * point).sum()
  assert excess <= 1e-5 * scale * (SIZE["l2"](rest) + 1e-6 * scale)
  if SIZE[name](delta.astype(np.float64)) <= radius * (1 - 1e-6):
    np.testing.assert_array_equal(point, delta)
  again = PROJECT[name](point.astype(np.float32), radius)
  np.testing.assert_allclose(again, point, atol=1e-6 * scale)


@settings(deadline=None, max_examples=30)
@given(delta=arrays, radius=st.floats(2**-6, 2**11, width=32))
def test_l1_projection_is_a_soft_threshold_found_by_brent(delta, radius):
  exact = delta.astype(np.float64)

  def shrink(threshold):
    return np.sign(exact) * np.maximum(np.abs(exact) - threshold, 0)

  expected = exact
  if np.abs(exact).sum() > radius:
    at = optimize.brentq(
      lambda t: np.abs(shrink(t)).sum() - radius, 0, np.abs(exact).max(), xtol=1e-12
    )
    expected = shrink(at)
  scale = 1e-5 * (np.abs(exact).sum() + radius)
  np.testing.assert_allclose(PROJECT["l1"](delta, radius), expected, atol=scale)


def test_l1_projection_survives_a_radius_that_is_hardly_exceeded():
  """Sums that differ by rounding alone once made all of it 0 (found by hypothesis)."""
  delta = np.float32([[58.534134, 407.0, 0.0, 0.0], [303.0, 256.0, 0.0, 0.0]])
  for radius in np.float32(1024.5341) - np.float32(2) ** -np.arange(1, 13):
    found = np.asarray(PROJECT["l1"](delta, radius))
    assert abs(np.abs(found).sum() - radius) < 1e-3
    assert np.abs(found - delta).max() < 1


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_projection_agrees_with_scipy(name):
  delta = np.random.default_rng(0).normal(size=6)
  radius = 0.6 * float(SIZE[name](delta))
  # l1 as p = u - v with u, v >= 0, so that SLSQP sees smooth functions only
  split = np.concatenate([np.eye(6), -np.eye(6)], 1) if name == "l1" else np.eye(6)
  inside = {
    "l1": lambda z: radius - z.sum(),
    "l2": lambda z: radius**2 - (z**2).sum(),
  }
  found = optimize.minimize(
    lambda z: ((delta - split @ z) ** 2).sum(),
    np.full(split.shape[1], 1e-3),
    method="SLSQP",
    bounds=[(0, None)] * 12 if name == "l1" else None,
    constraints={"type": "ineq", "fun": inside[name]},
    options={"ftol": 1e-9, "maxiter": 500},  # below, it may not end
  )
  assert found.success
  projected = NORMS[name].project(jnp.float32(delta), jnp.float32(radius))
  np.testing.assert_allclose(projected, split @ found.x, atol=2e-5)


@settings(deadline=None, max_examples=100)
@given(delta=arrays, low=arrays, high=arrays, radius=st.floats(0, 9, width=32))
def test_l0_projection_is_the_nearest_of_all_supports(delta, low, high, radius):
  """Every way to keep `radius` of the 8 coordinates, each clipped to its bounds."""
  low, high = -np.abs(low), np.abs(high)
  point = np.asarray(PROJECT["l0"](delta, radius, low, high), np.float64)
  clipped = np.clip(delta, low, high).astype(np.float64)
  assert np.count_nonzero(point) <= radius
  assert ((point == 0) | (point == clipped)).all()
  kept = np.array(
    [c for c in itertools.product((0, 1), repeat=8) if sum(c) <= np.float32(radius)]
  ).reshape(-1, *SHAPE)
  nearest = ((delta - kept * clipped) ** 2).sum((1, 2)).min()
  distance = ((delta - point) ** 2).sum()
  np.testing.assert_allclose(distance, nearest, rtol=1e-6, atol=1e-30)


def test_l0_projection_of_a_whole_clip_keeps_the_largest():
  """As many as the radius says, of equals the first, to the last bit."""
  delta = np.random.default_rng(0).normal(size=2**19).astype(np.float32).round(2)
  for radius in (1, 777, 2**18 + 1):
    order = np.argsort(-np.abs(delta), kind="stable")
    expected = np.zeros_like(delta)
    expected[order[:radius]] = delta[order[:radius]]
    found = PROJECT["l0"](delta, np.float32(radius + 0.5))
    np.testing.assert_array_equal(found, expected)


def test_l0_steepest_within_bounds_is_the_coordinate_that_gains_most():
  rng = np.random.default_rng(0)
  for _ in range(20):
    grad, low, high = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    low, high = -np.abs(low), np.abs(high)
    gains = np.maximum(grad * low, grad * high)
    step = np.asarray(NORMS["l0"].steepest(grad, low, high))
    assert np.count_nonzero(step) == 1
    assert (step >= low).all() and (step <= high).all()
    np.testing.assert_allclose((step * grad).sum(), gains.max(), rtol=1e-6)
    dual = NORMS["l0"].dual(grad, low, high)
    np.testing.assert_allclose(dual, gains.max(), rtol=1e-6)


def test_l0_samples_are_uniform_on_one_masked_coordinate():
  mask = np.float32([[1, 0, 1, 1], [0, 1, 0, 1]])
  keys = jax.random.split(jax.random.key(7), 4000)
  draws = np.asarray(DRAWS["l0"](keys, mask))
  assert ((draws != 0).sum((1, 2)) == 1).all() and (draws[:, mask == 0] == 0).all()
  chosen = (draws[:, mask == 1] != 0).sum(0)
  assert stats.chisquare(chosen).pvalue > 1e-3
  values = draws[draws != 0]
  assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_l0_has_no_radius_for_an_snr():
  with pytest.raises(InputError, match="SNR in dB says nothing about how many"):
    NORMS["l0"].within_l2(jnp.float32(1.0), jnp.ones(8))


@NAMES
def test_an_infinite_radius_leaves_delta_alone(name):
  delta = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
  for some in (delta, 1e6 * delta, 0 * delta):
    np.testing.assert_array_equal(PROJECT[name](some, np.float32(np.inf)), some)
    # known without running: no ball is computed, and the bounds still hold
    project = NORMS[name].project
    np.testing.assert_array_equal(project(some, float("inf")), some)
    np.testing.assert_array_equal(
      project(some, float("inf"), -0.5, 0.5), np.clip(some, -0.5, 0.5)
    )


@TRUE_NORMS
def test_projection_of_a_whole_clip_stays_in_the_ball(name):
  """Half a million coordinates: sums in float32 must not drift out of the ball."""
  delta = np.random.default_rng(0).normal(size=2**19).astype(np.float32)
  exact = SIZE[name](delta.astype(np.float64))
  np.testing.assert_allclose(JIT_SIZE[name](delta), exact, rtol=1e-5)
  for share in (0.9, 0.1, 1e-3):
    point = np.asarray(PROJECT[name](delta, np.float32(share * exact)), np.float64)
    np.testing.assert_allclose(SIZE[name](point), share * exact, rtol=2e-5)


@NAMES
@settings(deadline=None, max_examples=30)
@given(grad=arrays)
def test_steepest_has_size_one_and_attains_the_dual_norm(name, grad):
  direction = np.asarray(STEEPEST[name](grad), np.float64)
  exact = grad.astype(np.float64)
  attained = (direction * exact).sum()
  np.testing.assert_allclose(attained, DUAL[name](exact), 1e-5, 1e-30)
  if np.abs(grad).max() > 1e-37:  # below, XLA takes numbers for 0
    np.testing.assert_allclose(SIZE[name](direction), 1, rtol=1e-5)
  assert direction.shape == SHAPE


@NAMES
def test_nothing_divides_by_zero(name):
  norm, zero = NORMS[name], jnp.zeros(SHAPE)
  for result in (norm.steepest(zero), norm.project(zero, jnp.float32(0.0))):
    np.testing.assert_array_equal(result, np.zeros(SHAPE))
  assert norm.dual(zero) == norm.size(zero) == 0
  nothing = norm.sample(jax.random.key(0), zero)  # a mask without a single coordinate
  np.testing.assert_array_equal(nothing, np.zeros(SHAPE))


@TRUE_NORMS
def test_l2_size_of_tiny_and_huge_values(name):
  """Their squares leave the range of float32."""
  unit = np.float32([[3, 0, 0, 0], [0, 0, 4, 0]])
  for scale in (1e-25, 1e25):
    expected = SIZE[name](unit.astype(np.float64)) * scale
    size = JIT_SIZE[name](unit * np.float32(scale))
    np.testing.assert_allclose(size, expected, rtol=1e-5)


# E[s_i^2] of a uniform draw from the unit ball of n coordinates
VARIANCE = {
  "l1": lambda n: 2 / ((n + 1) * (n + 2)),
  "l2": lambda n: 1 / (n + 2),
  "linf": lambda n: 1 / 3,
}


@TRUE_NORMS
def test_samples_are_uniform_in_the_ball_of_the_masked_coordinates(name):
  mask = np.float32([[1, 0, 1, 1], [0, 1, 0, 1]])
  keys = jax.random.split(jax.random.key(7), 4000)
  draws = np.asarray(DRAWS[name](keys, mask), np.float64)
  assert (draws[:, mask == 0] == 0).all()
  free = draws[:, mask == 1]
  count = free.shape[1]
  sizes = np.array([SIZE[name](s) for s in free])
  assert sizes.max() <= 1 + 1e-6
  # of a ball of n dimensions the share r^n lies within radius r
  assert stats.kstest(sizes**count, "uniform").pvalue > 1e-3
  covariance = free.T @ free / len(free)
  expected = VARIANCE[name](count) * np.eye(count)
  np.testing.assert_allclose(covariance, expected, atol=0.08 * expected.max())
  np.testing.assert_allclose(free.mean(0), 0, atol=4 * np.sqrt(expected.max() / 4000))


@TRUE_NORMS
@settings(deadline=None, max_examples=30)
@given(delta=arrays, radius=st.floats(2**-6, 64, width=32))
def test_within_l2_is_the_largest_ball_inside_the_l2_ball(name, delta, radius):
  size = np.float64(NORMS[name].within_l2(jnp.float32(radius), jnp.ones(8)))
  own = SIZE[name](delta.astype(np.float64))
  if own > 0:
    assert SIZE["l2"](delta.astype(np.float64)) / own * size <= radius * (1 + 1e-6)
  # a corner or an axis of the ball touches the sphere
  touching = (np.ones(8), np.eye(8)[0])
  furthest = max(SIZE["l2"](t) / SIZE[name](t) * size for t in touching)
  np.testing.assert_allclose(furthest, radius, rtol=1e-6)
