"""The smallest step onto a hyperplane within a box, against scipy."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize
from small_victims import SIZE

from jaxadv.norms import NORMS

N = 8
NAMES = pytest.mark.parametrize("name", ["l1", "l2", "linf"])
ONTO = {name: jax.jit(NORMS[name].hyperplane) for name in ("l1", "l2", "linf")}
# few distinct magnitudes among them, so that ties and zeros are common
weights = st.one_of(
  st.sampled_from([0.0, 1.0, -1.0, 2.0, -0.5]), st.floats(-8, 8, width=16)
)
rooms = st.one_of(st.sampled_from([0.0, 0.25, 1.0]), st.floats(0, 2, width=16))


def arrays(elements):
  return hnp.arrays(np.float32, N, elements=elements)


def smallest(name, normal, offset, low, high):
  """The least size of all delta, by scipy."""
  eye, column = np.eye(N), np.ones((N, 1))
  if name == "l2":
    # of the dual, concave in one number: delta = clip(t * normal)
    attained = lambda t: normal @ np.clip(t * normal, low, high) - offset  # noqa: E731
    t = optimize.brentq(attained, -1e9, 1e9, xtol=1e-14, rtol=1e-14, maxiter=500)
    return np.linalg.norm(np.clip(t * normal, low, high))
  # delta and bounds s on |delta|: one for all (linf) or one each (l1)
  bound = column if name == "linf" else eye
  found = optimize.linprog(
    np.r_[np.zeros(N), np.ones(bound.shape[1])],
    A_ub=np.block([[eye, -bound], [-eye, -bound]]),
    b_ub=np.zeros(2 * N),
    A_eq=np.r_[normal, np.zeros(bound.shape[1])][None],
    b_eq=[offset],
    bounds=[*zip(low, high, strict=True), *[(0, None)] * bound.shape[1]],
  )
  assert found.status == 0, found.message
  return found.fun


@NAMES
@settings(deadline=None, max_examples=60)
@given(
  normal=arrays(weights),
  low=arrays(rooms),
  high=arrays(rooms),
  share=st.floats(-1.5, 1.5, width=16),
)
def test_hyperplane_is_reached_by_the_smallest_step(name, normal, low, high, share):
  """And where the box keeps it off, by the point of the box that comes nearest."""
  most = np.where(share * normal > 0, high, low) @ np.abs(normal).astype(np.float64)
  offset = np.float32(share * most)
  delta = np.float64(ONTO[name](normal, offset, -low, high))
  assert (delta >= -low).all() and (delta <= high).all()
  attained = normal @ delta
  if abs(share) >= 1:
    np.testing.assert_allclose(attained, np.sign(share) * most, 1e-5, 1e-6)
    return
  np.testing.assert_allclose(attained, offset, 1e-5, 1e-6)
  exact = [v.astype(np.float64) for v in (normal, -low, high)]
  if abs(offset) > 1e-3:  # below, scipy's own tolerance would count
    least = smallest(name, exact[0], np.float64(offset), *exact[1:])
    np.testing.assert_allclose(SIZE[name](delta), least, 1e-3, 1e-6)


def test_the_l2_step_agrees_with_slsqp():
  rng = np.random.default_rng(0)
  for _ in range(5):
    normal, (low, high) = rng.normal(size=N), rng.uniform(0, 1, (2, N))
    offset = 0.8 * np.where(normal > 0, high, low) @ np.abs(normal)
    found = optimize.minimize(
      lambda d: d @ d,
      np.zeros(N),
      jac=lambda d: 2 * d,
      method="SLSQP",
      bounds=list(zip(-low, high, strict=True)),
      constraints={"type": "eq", "fun": lambda d, w=normal, b=offset: w @ d - b},
      options={"ftol": 1e-14},
    )
    assert found.success
    delta = ONTO["l2"](*map(np.float32, (normal, offset, -low, high)))
    np.testing.assert_allclose(delta, found.x, atol=1e-3)


@NAMES
def test_hyperplane_of_a_whole_clip(name):
  """Any shape, half a million coordinates, gradients of any scale."""
  rng = np.random.default_rng(0)
  shape, onto = (2**10, 2**9), jax.jit(NORMS[name].hyperplane)
  normal = rng.normal(size=shape).astype(np.float32)
  low, high = rng.uniform(0, 1, (2, *shape)).astype(np.float32)
  most = (np.where(normal > 0, high, low) * np.abs(normal).astype(np.float64)).sum()
  for share, scale in ((1e-6, 1.0), (0.3, 1e-12), (-0.9, 1e12)):
    offset = share * scale * most
    delta = np.float64(onto(normal * np.float32(scale), np.float32(offset), -low, high))
    np.testing.assert_allclose((normal * scale * delta).sum(), offset, rtol=2e-5)
  nothing = onto(0 * normal, np.float32(1.0), -low, high)
  np.testing.assert_array_equal(nothing, 0 * normal)
