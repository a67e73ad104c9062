"""Batch norm next to convolutions: as it is trained, and folded, as attacks run it.

The variables say which of the two a network is. Those of training hold the statistics
of each batch norm; `fold` writes them into the layers before and leaves none. The
functions here are called inside a compact module, with layers of Keras's names
(Conv_3, BatchNorm_3) that belong to it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxadv.models.blocks import Conv

Array = jax.Array


def fold(model: nn.Module, variables: Any, x: Array) -> Any:
  """Variables under which `model.apply` gives the same logits with fewer operations.

  A batch norm behind a convolution goes into its kernel and bias, any other becomes one
  multiply-add: with s = scale / sqrt(var + epsilon) and t = bias - s mean, its "scale"
  is s and its "bias" t. The tree is that of training without "batch_stats"; it can't be
  trained on. x: what the model takes; of its values nothing is used.
  """

  @jax.jit  # so that the pass itself, which nothing needs, is not computed
  def folded(variables):
    return model.apply(variables, x, mutable=["params"])[1]

  kept = {kind: tree for kind, tree in variables.items() if kind != "batch_stats"}
  return kept | folded(variables)


def to_bfloat16(folded: Any) -> Any:
  """Folded variables whose convolutions compute in bfloat16, all but the first.

  Kernels of one input channel stay in float32: they hear the waveform or the
  spectrogram itself, of which bfloat16's 8 bits would round away whatever is 50 dB
  below. So do dense and recurrent layers, means over positions, and all that is per
  channel; nearly all of the arithmetic is in the rest.
  """

  def cast(leaf):
    convolution = leaf.ndim == 4 and leaf.shape[2] > 1
    return leaf.astype(jnp.bfloat16) if convolution else leaf

  return jax.tree.map(cast, folded)


def keras_norm(momentum: float) -> nn.BatchNorm:
  """A batch norm with Keras's epsilon."""
  return nn.BatchNorm(momentum=momentum, epsilon=1e-3)


def batch_norm(x: Array, norm: nn.BatchNorm, train: bool) -> Array:
  """y = s x + t, channels last."""
  if _is_folded(norm):
    scale, shift = _left(norm)
    return x * scale + shift
  if _folds(norm):
    _reduce(norm)
  return norm(x, use_running_average=not train)


def conv_norm(x: Array, convolution: Conv, norm: nn.BatchNorm, train: bool) -> Array:
  """y = s c + t, c = convolution(x); folded, a convolution alone."""
  y = convolution(x)
  if _is_folded(norm):
    return y
  if _folds(norm):
    _absorb(convolution, *_reduce(norm))
  return norm(y, use_running_average=not train)


def conv_relu_norm(
  x: Array, convolution: Conv, norm: nn.BatchNorm, train: bool
) -> Array:
  """y = s relu(c) + t, c = convolution(x).

  Folded, max(s c + t, t), or min where s is negative: the convolution holds s and t,
  and the rectifier's floor is t in place of 0.
  """
  y = convolution(x)
  if _is_folded(norm):
    scale, shift = (leaf.astype(y.dtype) for leaf in _left(norm))
    low = jnp.where(scale < 0, -jnp.inf, shift)
    high = jnp.where(scale < 0, shift, jnp.inf)
    # its gradient is 0 where both sides tie, as that of relu
    return lax.clamp(*(jnp.broadcast_to(v, y.shape) for v in (low, y, high)))
  if _folds(norm):
    _absorb(convolution, *_reduce(norm))
  return norm(nn.relu(y), use_running_average=not train)


def conv_glu_norm(
  x: Array, convolution: Conv, norm: nn.BatchNorm, train: bool
) -> Array:
  """y = s (a * sigmoid(b)) + t, where [a, b] = convolution(x); s folds into a."""
  y = convolution(x)
  if _is_folded(norm):
    return nn.glu(y) + _left(norm)[1].astype(y.dtype)
  if _folds(norm):
    scale, _ = _reduce(norm)
    _absorb(convolution, jnp.concatenate([scale, jnp.ones_like(scale)]), 0.0)
  return norm(nn.glu(y), use_running_average=not train)


def _is_folded(norm):
  return not norm.is_initializing() and not norm.has_variable("batch_stats", "var")


def _folds(norm):
  """Whether this is the pass of `fold`: others do not change weights alone."""
  changes = norm.is_mutable_collection
  return changes("params") and not changes("batch_stats")


def _left(norm):
  return norm.get_variable("params", "scale"), norm.get_variable("params", "bias")


def _reduce(norm):
  """s and t, which take the place of the batch norm's own scale and bias."""
  (scale, bias), read = _left(norm), norm.get_variable
  scale = scale / jnp.sqrt(read("batch_stats", "var") + norm.epsilon)
  shift = bias - scale * read("batch_stats", "mean")
  norm.put_variable("params", "scale", scale)
  norm.put_variable("params", "bias", shift)
  return scale, shift


def _absorb(convolution, scale, shift):
  read, write = convolution.get_variable, convolution.put_variable
  write("params", "kernel", read("params", "kernel") * scale)
  write("params", "bias", read("params", "bias") * scale + shift)
