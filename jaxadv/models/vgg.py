"""VGG13 on log-mel chunks."""

import jax
from flax import linen as nn

from jaxadv.models.blocks import Conv, max_pool

Array = jax.Array
CHANNELS = (64, 128, 256, 512, 512)


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

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = x[..., None]
    for channels in CHANNELS:
      for _ in range(2):
        x = nn.relu(Conv(max(1, round(channels * self.width)))(x))
        x = nn.BatchNorm(
          use_running_average=not train, momentum=self.bn_momentum, epsilon=1e-3
        )(x)
      x = max_pool(x)
    glorot = nn.initializers.glorot_uniform()
    return nn.Dense(self.classes, kernel_init=glorot)(x.mean((1, 2)))
