"""Convolution and pooling whose gradients are fast on CPU.

Measured on 2 CPU cores by configs/bench_layers.py (BUILD.md, "Convolution gradients"):
XLA's own input gradient of a convolution is 3 to 4 times slower inside
control flow, that of a max pool everywhere, and a convolution of few channels leaves
most of each vector register empty. These give the same results, and a backward pass
at about the cost of the forward pass.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

Array = jax.Array
_NHWC = ("NHWC", "HWIO", "NHWC")
# channels that fill a vector; convolutions of fewer are folded
_VECTOR = 16


def conv(x: Array, kernel: Array) -> Array:
  """Stride-1 'SAME' convolution, odd kernel. [B,H,W,I], [h,w,I,O] -> [B,H,W,O]."""
  if not all(size % 2 for size in kernel.shape[:2]):
    raise ValueError(f"a kernel of {kernel.shape[:2]}: give odd sizes")
  # taps that would only ever meet the zeros around x (3 of 9 are left where W is 1)
  for axis, size in ((0, x.shape[1]), (1, x.shape[2])):
    unused = max(0, kernel.shape[axis] // 2 - (size - 1))
    kernel = lax.slice_in_dim(kernel, unused, kernel.shape[axis] - unused, axis=axis)
  *taps, inputs, outputs = kernel.shape
  # 1x1: of 32 channels and more, twice as fast as lax's, its kernel gradient thrice
  if taps == [1, 1] and inputs * outputs >= 2 * _VECTOR**2:
    flat = x.reshape(-1, inputs) @ kernel[0, 0]
    return flat.reshape(*x.shape[:3], outputs)
  return _conv(x, kernel)


@jax.custom_vjp
def _conv(x, kernel):
  return _convolve(x, kernel)


def _conv_backward(residual, grad):
  """The input gradient is a forward convolution with the kernel flipped in space and
  its channels swapped, behind a barrier, so that XLA does not turn it back."""
  x, kernel = residual
  flipped = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
  grad_x = _convolve(grad, lax.optimization_barrier(flipped))
  # dropped by XLA where unused, as in every attack
  (grad_kernel,) = jax.vjp(lambda k: _plain(x, k), kernel)[1](grad)
  return grad_x, grad_kernel


_conv.defvjp(lambda x, kernel: (_convolve(x, kernel), (x, kernel)), _conv_backward)


def _plain(x, kernel):
  return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def _convolve(x, kernel):
  size, inputs, outputs = kernel.shape[1:]
  if inputs == 1:
    return _convolve_from_one(x, kernel)
  if outputs == 1:
    return _convolve_to_one(x, kernel)
  if size > 1 and inputs * outputs < _VECTOR**2 // 4:
    fold = 2 ** int(math.log2(_VECTOR / math.sqrt(inputs * outputs)))
    if size // 2 <= fold <= x.shape[2]:
      return _convolve_folded(x, kernel, fold)
  return _plain(x, kernel)


def _convolve_from_one(x, kernel):
  """The same convolution of one channel: a sum over taps, which XLA fuses. 1.3 to 2.6
  times as fast as the faster of `_plain` and `_convolve_folded`."""
  *size, _, outputs = kernel.shape
  taps = kernel.reshape(-1, outputs)
  return sum(_heard(x, size, at) * tap for at, tap in enumerate(taps))


def _convolve_to_one(x, kernel):
  """The same convolution to one channel, as the backward pass of that: every tap's
  share at every place in one matrix product, then moved and summed. 1 to 3 times as
  fast."""
  *size, inputs, _ = kernel.shape
  shares = kernel.reshape(-1, inputs) @ x.reshape(-1, inputs).T
  shares = shares.reshape(-1, *x.shape[:3], 1)
  return sum(_heard(share, size, at) for at, share in enumerate(shares))


def _heard(x, size, at):
  """x as the tap `at` of a kernel of `size` hears it at each place. [B,H,W,C]."""
  (height, width), (_, h, w, _) = size, x.shape
  row, column = divmod(at, width)
  around = ((0, 0), (height // 2, height // 2), (width // 2, width // 2), (0, 0))
  return jnp.pad(x, around)[:, row : row + h, column : column + w]


def _convolve_folded(x, kernel, fold):
  """The same convolution, `fold` neighbours along W taken as channels of one place.

  It multiplies many zeros, and is up to 10 times as fast where channels are few.
  """
  (height, size, inputs, outputs), (b, h, w, _) = kernel.shape, x.shape
  # the tap by which `to` in a place hears `at` in the place before, itself, the next
  place, at, to = np.ogrid[-1:2, :fold, :fold]
  tap = (place * fold + at - to + size // 2)[..., None] == np.arange(size)
  wide = jnp.einsum("patj,hjio->hpaito", tap.astype(kernel.dtype), kernel)
  wide = wide.reshape(height, 3, fold * inputs, fold * outputs)
  x = jnp.pad(x, ((0, 0), (0, 0), (0, -w % fold), (0, 0)))
  out = _plain(x.reshape(b, h, -1, fold * inputs), wide)
  return out.reshape(b, h, -1, outputs)[:, :, :w]


def max_pool(x: Array, window: tuple[int, int] = (2, 2), same: bool = False) -> Array:
  """Max pool whose stride is its window. [B,H,W,C] -> [B,H//h,W//w,C].

  What is left over at the end is dropped; `same` rounds up instead, padding as
  TensorFlow does (the odd one at the end). Where entries tie, the gradient is shared
  between them; lax gives it to the first.
  """
  for axis, size in zip((1, 2), window, strict=True):
    over = x.shape[axis] % size
    if same and over:
      before = (size - over) // 2
      pad = [(0, 0)] * 4
      pad[axis] = (before, size - over - before)
      x = jnp.pad(x, pad, constant_values=-jnp.inf)
    elif over:
      x = lax.slice_in_dim(x, 0, x.shape[axis] - over, axis=axis)
  return _max_pool(x, window)


def _entries(x, window):
  """The entries of each window. [B,H,W,C] -> h * w times [B,H/h,W/w,C]."""
  rows, columns = window
  return [x[:, i::rows, j::columns] for i in range(rows) for j in range(columns)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, window):
  return functools.reduce(jnp.maximum, _entries(x, window))


def _max_pool_forward(x, window):
  largest = _max_pool(x, window)
  return largest, (x, largest)


def _max_pool_backward(window, residual, grad):
  x, largest = residual
  ties = sum((entry == largest).astype(x.dtype) for entry in _entries(x, window))
  # a barrier, or XLA divides once for each entry of a window
  share = lax.optimization_barrier(grad / ties)[:, :, None, :, None]
  b, h, w, c = largest.shape
  windows = x.reshape(b, h, window[0], w, window[1], c)
  hit = windows == largest[:, :, None, :, None]
  return (jnp.where(hit, share, 0).reshape(x.shape),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@jax.custom_vjp
def weigh(x: Array, gate: Array) -> Array:
  """Every channel times its gate, in x's precision. [B,H,W,C], [B,C] -> [B,H,W,C].

  The gate's gradient is a contraction: as a product and a sum over positions, XLA on
  CPU takes 5 to 10 times as long.
  """
  return x * gate.astype(x.dtype)[:, None, None]


def _weigh_backward(residual, grad):
  x, gate = residual
  of_gate = jnp.einsum("bhwc,bhwc->bc", grad, x, preferred_element_type=jnp.float32)
  return weigh(grad, gate), of_gate.astype(gate.dtype)


weigh.defvjp(lambda x, gate: (weigh(x, gate), (x, gate)), _weigh_backward)


class Conv(nn.Module):
  """'SAME' convolution with bias, odd kernel, Glorot-uniform (Keras's default).

  It computes in the precision of its kernel.
  """

  channels: int
  size: tuple[int, int] = (3, 3)

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (*self.size, x.shape[-1], self.channels)
    kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
    bias = self.param("bias", nn.initializers.zeros, (self.channels,))
    return conv(x.astype(kernel.dtype), kernel) + bias.astype(kernel.dtype)
