"""Convolution and pooling against lax and scipy: values and both gradients."""

import math

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxadv.models.blocks import Conv, conv, max_pool

# batch, height, width, channels in and out, kernel
SHAPES = [
  (2, 5, 7, 3, 4, (3, 3)),  # neighbours folded into channels
  (2, 5, 7, 9, 10, (3, 3)),  # not folded
  (1, 1, 2, 2, 3, (3, 3)),  # rows of zeros only above and below
  (2, 5, 1, 2, 3, (3, 3)),
  (2, 1, 1, 3, 2, (7, 5)),
  (2, 6, 4, 1, 2, (5, 1)),  # a sum over taps, and its backward pass
  (2, 5, 7, 4, 1, (3, 5)),  # the other way round
  (2, 1, 53, 1, 2, (1, 3)),
  (2, 1, 40, 2, 2, (1, 9)),
  (2, 1, 40, 5, 6, (1, 7)),  # longer than three folds reach
  (2, 3, 4, 3, 2, (1, 1)),
  (2, 3, 4, 33, 16, (1, 1)),  # a matrix product
]


def lax_conv(x, kernel):
  numbers = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def lax_pool(x):
  window = (1, 2, 2, 1)
  return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def draw(seed, *shapes):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("b, h, w, i, o, size", SHAPES)
def test_convolution_and_its_gradients(b, h, w, i, o, size):
  x, dx = draw(0, *[(b, h, w, i)] * 2)
  kernel, dk = draw(1, *[(*size, i, o)] * 2)
  (g,) = draw(2, (b, h, w, o))
  out, pull = jax.vjp(conv, x, kernel)
  grad_x, grad_kernel = pull(g)
  close(out, by_hand.convolve(x, kernel))
  # a convolution is linear in each argument: its gradient is its adjoint
  close(np.vdot(grad_x, dx), np.vdot(g, by_hand.convolve(dx, kernel)))
  close(np.vdot(grad_kernel, dk), np.vdot(g, by_hand.convolve(x, dk)))
  for found, expected in zip(
    (grad_x, grad_kernel), jax.vjp(lax_conv, x, kernel)[1](g), strict=True
  ):
    close(found, expected)


@pytest.mark.parametrize("size", [(2, 3), (3, 4)])
def test_even_kernels_are_refused(size):
  with pytest.raises(ValueError, match="odd"):
    conv(jnp.zeros((1, 8, 8, 1)), jnp.zeros((*size, 1, 1)))


def test_keras_initialisers():
  # Glorot: uniform within sqrt(6 / (fan in + fan out))
  params = Conv(24).init(jax.random.key(1), jnp.zeros((1, 3, 3, 8)))["params"]
  bound = math.sqrt(6 / (9 * (8 + 24)))
  assert not params["bias"].any()
  assert 0.98 * bound < abs(params["kernel"]).max() <= bound
  assert np.std(params["kernel"]) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_the_layer_adds_its_bias():
  x, kernel, bias = draw(3, (1, 4, 5, 2), (3, 3, 2, 3), (3,))
  out = Conv(3).apply({"params": {"kernel": kernel, "bias": bias}}, x)
  close(out, by_hand.convolve(x, kernel) + bias)


def descend(convolve, pool, x, kernel):
  """A point after three steps down, each the gradient of conv, pool, squares."""

  def loss(x, kernel):
    return (pool(convolve(x, kernel)) ** 2).sum()

  def step(_, point):
    grads = jax.grad(loss, (0, 1))(*point)
    return jax.tree.map(lambda p, g: p - 0.01 * g, point, grads)

  return lax.fori_loop(0, 3, step, (x, kernel))


def test_both_inside_a_loop_under_vmap():
  xs, kernel = draw(4, (3, 5, 7, 2), (3, 3, 2, 4))

  def one(convolve, pool):
    # single examples, as an attack sees them
    return lambda x: descend(convolve, pool, x[None], kernel)

  found = jax.jit(jax.vmap(one(conv, max_pool)))(xs)
  expected = jax.jit(jax.vmap(one(lax_conv, lax_pool)))(xs)
  for n, x in enumerate(xs):
    alone = one(lax_conv, lax_pool)(x)
    for a, b, c in zip(found, expected, alone, strict=True):
      close(a[n], b[n])
      close(a[n], c)
  assert np.abs(found[0][:, 0] - xs).max() > 0.01  # it moved


@pytest.mark.parametrize("h, w", [(4, 6), (5, 4), (7, 3), (2, 2)])
def test_pooling_and_its_gradient(h, w):
  (x,) = draw(5, (2, h, w, 3))
  out, pull = jax.vjp(max_pool, x)
  np.testing.assert_array_equal(out, by_hand.pool(x))
  (g,) = draw(6, out.shape)
  # without ties lax agrees, and the gradient goes to each square's largest entry
  close(pull(g)[0], jax.vjp(lax_pool, x)[1](g)[0])
  assert np.count_nonzero(pull(g)[0]) == out.size


def test_ties_share_the_gradient():
  (grad,) = jax.vjp(max_pool, jnp.zeros((1, 3, 4, 1)))[1](jnp.ones((1, 1, 2, 1)))
  # the odd row gets nothing
  close(grad[0, :, :, 0], [[0.25] * 4, [0.25] * 4, [0] * 4])
  x = jnp.asarray([1.0, 3, 3, 2, 5, 5, 4, 5])[None, None, :, None]
  (grad,) = jax.vjp(lambda x: max_pool(x, (1, 4)), x)[1](jnp.full((1, 1, 2, 1), 6.0))
  close(grad.ravel(), [0, 3, 3, 0, 2, 2, 0, 2])
