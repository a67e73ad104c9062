"""VGG13, and CRNN on top of the same convolutions, on log-mel chunks."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv.models.blocks import Conv, max_pool
from jaxadv.models.folding import conv_relu_norm, keras_norm
from jaxadv.models.gru import GRU

Array = jax.Array
CHANNELS = (64, 128, 256, 512, 512)


def _convolutions(x: Array, width: float, bn_momentum: float, train: bool) -> Array:
  """Five blocks of (Conv3x3, ReLU, BatchNorm) x 2 and a 2x2 max pool.

  [B, frames, bands] -> [B, frames / 32, bands / 32, 512 * width].
  """
  x = x[..., None]
  for channels in CHANNELS:
    for _ in range(2):
      convolution = Conv(max(1, round(channels * width)))
      x = conv_relu_norm(x, convolution, keras_norm(bn_momentum), train)
    x = max_pool(x)
  return x


class VGG13(nn.Module):
  """Five blocks of (Conv3x3, ReLU, BatchNorm) x 2 and a 2x2 max pool, mean, dense.

  The activation comes before the batch norm. [B, 128, 64] -> logits [B, classes];
  9,436,649 parameters at width 1 and 41 classes. Keras's epsilon and initialisers.
  Iqbal et al., General-purpose audio tagging from noisy labels using CNNs, DCASE 2018,
  and the authors' code.
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  takes: ClassVar[str] = "spectrogram"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = _convolutions(x, self.width, self.bn_momentum, train)
    x = x.mean((1, 2), dtype=jnp.float32)
    return nn.Dense(self.classes, kernel_init=nn.initializers.glorot_uniform())(x)


class CRNN(nn.Module):
  """VGG13's convolutions, mean over bands, a GRU in both directions, mean, dense.

  [B, 128, 64] -> logits [B, classes]; 12,606,441 parameters at width 1 and 41 classes:
  the GRUs have 512 units each and ReLU for their candidates. Iqbal et al.,
  General-purpose audio tagging from noisy labels using CNNs, DCASE 2018, and the
  authors' code.
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  takes: ClassVar[str] = "spectrogram"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = _convolutions(x, self.width, self.bn_momentum, train)
    x = x.mean(2, dtype=jnp.float32)
    units = x.shape[-1]
    both = [GRU(units)(x), GRU(units)(x[:, ::-1])[:, ::-1]]
    x = jnp.concatenate(both, axis=-1).mean(1)
    return nn.Dense(self.classes, kernel_init=nn.initializers.glorot_uniform())(x)
