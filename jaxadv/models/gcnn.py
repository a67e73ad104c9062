"""VGG13 with gated convolutions on log-mel chunks."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv.models.blocks import Conv, max_pool
from jaxadv.models.folding import conv_glu_norm, keras_norm
from jaxadv.models.vgg import CHANNELS

Array = jax.Array


class GCNN(nn.Module):
  """VGG13 with (gated Conv3x3, BatchNorm) in place of (Conv3x3, ReLU, BatchNorm).

  One convolution with 2n filters; the first n, linear, times the sigmoid of the last n.
  [B, 128, 64] -> logits [B, classes]; 18,840,489 parameters at width 1 and 41 classes.
  Keras's epsilon and initialisers. Iqbal et al., General-purpose audio tagging from
  noisy labels using CNNs, DCASE 2018, and the authors' code; the gate: Dauphin et al.,
  Language Modeling with Gated Convolutional Networks, ICML 2017, eq. 1.
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  takes: ClassVar[str] = "spectrogram"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = x[..., None]
    for channels in CHANNELS:
      for _ in range(2):
        convolution = Conv(2 * max(1, round(channels * self.width)))
        x = conv_glu_norm(x, convolution, keras_norm(self.bn_momentum), train)
      x = max_pool(x)
    glorot = nn.initializers.glorot_uniform()
    return nn.Dense(self.classes, kernel_init=glorot)(x.mean((1, 2), dtype=jnp.float32))
