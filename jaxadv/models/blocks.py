"""Convolution and pooling whose input gradients are fast on CPU.

Measured on 2 CPU cores (BUILD.md, "Convolution gradients"): XLA's own input gradient of
a convolution is 3 to 4 times slower inside control flow, and that of a max pool
everywhere. These two give the same results at about the cost of a forward pass.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Array = jax.Array
_NHWC = ("NHWC", "HWIO", "NHWC")


def _convolve(x, kernel):
  return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


@jax.custom_vjp
def conv(x: Array, kernel: Array) -> Array:
  """Stride-1 'SAME' convolution, odd kernel. [B,H,W,I], [h,w,I,O] -> [B,H,W,O].

  Its input gradient is a forward convolution with the kernel flipped in space and its
  channels swapped, behind a barrier, so that XLA does not turn it back.
  """
  return _convolve(x, kernel)


def _conv_backward(residual, grad):
  x, kernel = residual
  flipped = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
  grad_x = _convolve(grad, lax.optimization_barrier(flipped))
  # dropped by XLA where unused, as in every attack
  (grad_kernel,) = jax.vjp(lambda k: _convolve(x, k), kernel)[1](grad)
  return grad_x, grad_kernel


conv.defvjp(lambda x, kernel: (_convolve(x, kernel), (x, kernel)), _conv_backward)


def max_pool(x: Array) -> Array:
  """2x2 max pool, an odd last row or column dropped. [B,H,W,C] -> [B,H//2,W//2,C].

  As the maximum of strided slices. Where entries tie, the gradient is shared between
  them; lax gives it to the first.
  """
  height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  rows = jnp.maximum(x[:, 0:height:2], x[:, 1:height:2])
  return jnp.maximum(rows[:, :, 0:width:2], rows[:, :, 1:width:2])


class Conv(nn.Module):
  """3x3 'SAME' convolution with bias, Glorot-uniform kernel (Keras's default)."""

  channels: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (3, 3, x.shape[-1], self.channels)
    kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.channels,))
    return conv(x, kernel) + bias
