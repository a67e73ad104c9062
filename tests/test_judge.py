"""The judge against float64, and at full precision whatever the global default."""

import jax
import numpy as np
import pytest
import scipy.special

from jaxadv.judge import judge, probabilities

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(300, 7)).astype(np.float32)
KERNEL = RNG.normal(size=(5, 1, 7)).astype(np.float32)
X = RNG.normal(size=(6, 300)).astype(np.float32)


def dense(params, x):
  return x @ params


def convolve(params, x):
  """Mean over time of a 1-D convolution."""
  return jax.lax.conv_general_dilated(
    x[None, :, None], params, (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC")
  )[0].mean(0)


def numpy_convolve(params, x):
  windows = np.lib.stride_tricks.sliding_window_view(x, 5)
  return (windows @ params[:, 0]).mean(0)


@pytest.mark.parametrize("default", [None, "bfloat16"])
@pytest.mark.parametrize(
  "logits_fn, oracle, params",
  [(dense, dense, WEIGHTS), (convolve, numpy_convolve, KERNEL)],
  ids=["dense", "convolution"],
)
def test_judged_logits_are_those_of_float64(logits_fn, oracle, params, default):
  expected = np.stack([oracle(params.astype(np.float64), x) for x in np.float64(X)])
  with jax.default_matmul_precision(default):
    logits = judge(logits_fn)(params, X)
  assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logits_fn, params", [(dense, WEIGHTS), (convolve, KERNEL)])
def test_every_product_asks_for_the_highest_precision(logits_fn, params):
  """CPU computes in float32 whatever it is asked: here the request itself is read."""
  asked = []

  def watched(params, x):
    equations = jax.make_jaxpr(logits_fn)(params, x).eqns
    asked.extend(e.params["precision"] for e in equations if "precision" in e.params)
    return logits_fn(params, x)

  with jax.default_matmul_precision("bfloat16"):
    judge(watched)(params, X)
  assert asked and all(p == (jax.lax.Precision.HIGHEST,) * 2 for p in asked)


def test_examples_are_judged_one_by_one():
  """A victim that normalises by its whole input must not see its neighbours."""
  logits = judge(lambda params, x: (x / x.sum()) @ params)(WEIGHTS, X)
  alone = judge(lambda params, x: (x / x.sum()) @ params)(WEIGHTS, X[2:3])
  np.testing.assert_allclose(logits[2:3], alone, rtol=1e-5)


def test_waveforms_of_any_length_are_judged_in_one_shape_for_each():
  shapes = []

  def logits(params, x):
    shapes.append(x.shape)  # once for each that is traced
    return jax.numpy.stack([x.sum(), x.max(), 0.0])

  lengths = [3, 5, 3, 3, 5, 3, 3]
  xs = [RNG.normal(size=n).astype(np.float32) for n in lengths]
  found = dict(probabilities(logits, None, enumerate(xs), 6))
  assert sorted(shapes) == [(3,), (5,)]
  assert sorted(found) == list(range(7))
  for n, x in enumerate(xs):
    expected = scipy.special.softmax([x.sum(), x.max(), 0.0])
    np.testing.assert_allclose(found[n], expected, rtol=1e-5)


def test_waveforms_are_read_as_they_are_needed():
  drawn = []

  def tagged():
    for n in range(6):
      drawn.append(n)
      yield n, np.full(4, n, np.float32)

  told = probabilities(lambda params, x: x[:2], None, tagged(), 8)
  assert next(told)[0] == 0 and drawn == [0, 1]
  assert [tag for tag, _ in told] == [1, 2, 3, 4, 5]
