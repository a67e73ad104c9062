"""The densely connected networks on raw waveforms, and on any spectrogram."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv.models.blocks import Conv, max_pool, weigh
from jaxadv.models.folding import batch_norm, conv_norm, keras_norm
from jaxadv.models.frontends import kapre_mel

Array = jax.Array
CHANNELS = (16, 32, 64, 128, 256, 512, 512, 512)
HEADS = 8


class _Body(nn.Module):
  """Eight dense blocks with squeeze and excitation, and eight heads.

  A block is (BatchNorm, ReLU, Conv 1x1, BatchNorm, ReLU, Conv, excitation), set beside
  its own input, and a max pool that rounds up. [B, H, W, 1] -> log of the mean of the
  heads' probabilities [B, classes]: its softmax is that mean, so attacks on logits and
  on probabilities both get what they expect.
  """

  classes: int
  width: float
  bn_momentum: float
  kernel: tuple[int, int]
  pool: tuple[int, int]

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    norm = functools.partial(keras_norm, self.bn_momentum)
    first = max(1, round(CHANNELS[0] * self.width) - x.shape[-1])
    x = jnp.concatenate([x, Conv(first, self.kernel)(x)], axis=-1)
    for channels in CHANNELS:
      growth = max(1, round(channels * self.width))
      new = nn.relu(batch_norm(x, norm(), train))
      new = nn.relu(conv_norm(new, Conv(growth, (1, 1)), norm(), train))
      new = excite(Conv(growth, self.kernel)(new))
      x = jnp.concatenate([new, x.astype(new.dtype)], axis=-1)
      x = max_pool(x, self.pool, same=True)
    # a head is dense at each position, then a mean: the same as dense on the mean
    x = nn.relu(batch_norm(x, norm(), train)).mean((1, 2))
    logits = _dense(HEADS * self.classes)(x).reshape(-1, HEADS, self.classes)
    return nn.logsumexp(nn.log_softmax(logits), axis=1) - jnp.log(HEADS)


def _dense(features: int) -> nn.Dense:
  return nn.Dense(features, kernel_init=nn.initializers.glorot_uniform())


def excite(x: Array) -> Array:
  """Channels weighed by a gate of their means; called inside a compact module.

  Hu, Shen, Sun, Squeeze-and-Excitation Networks, CVPR 2018, section 3; the
  ratio of 2 is Jeong and Lim's.
  """
  channels = x.shape[-1]
  mean = x.mean((1, 2), dtype=jnp.float32)
  gate = nn.relu(_dense(max(1, channels // 2))(mean))
  return weigh(x, nn.sigmoid(_dense(channels)(gate)))


class DenseSpectral(nn.Module):
  """The network of `DenseMel` behind any frontend: batch norm per band, then the body.

  [B, frames, bands] -> log probabilities [B, classes].
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  takes: ClassVar[str] = "spectrogram"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = batch_norm(x, keras_norm(self.bn_momentum), train)
    body = _Body(self.classes, self.width, self.bn_momentum, (3, 3), (2, 2))
    return body(x[..., None], train)


class DenseMel(nn.Module):
  """Batch norm on the waveform, kapre's log-mel, `DenseSpectral`.

  [B, samples] -> log probabilities [B, classes]; about 11.09 million parameters at
  width 1 and 41 classes. The whole clip goes through at once. Jeong and Lim, Audio
  tagging system for DCASE 2018: focusing on label noise, data augmentation and its
  efficient learning, 2018, and the authors' code.
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  takes: ClassVar[str] = "waveform"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = _norm_waveform(x, self.bn_momentum, train)[..., 0]
    mel = jax.vmap(kapre_mel)(x)[:, 0]
    return DenseSpectral(self.classes, self.width, self.bn_momentum)(mel, train)


class DenseWav(nn.Module):
  """The same body in one dimension on the samples; pools of 4, kernels of 3.

  [B, samples] -> log probabilities [B, classes]; about 5.85 million parameters at width
  1 and 41 classes. Its layers were never published: this mirrors `DenseMel`, with
  pools that bring the 64,000 samples of a training segment down to one position.
  """

  classes: int
  width: float = 1.0
  bn_momentum: float = 0.99
  kernel: int = 3
  pool: int = 4
  takes: ClassVar[str] = "waveform"

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    x = _norm_waveform(x, self.bn_momentum, train)[:, None]
    body = _Body(
      self.classes, self.width, self.bn_momentum, (1, self.kernel), (1, self.pool)
    )
    return body(x, train)


def _norm_waveform(x: Array, momentum: float, train: bool) -> Array:
  """[B, samples] -> [B, samples, 1], by one mean and deviation; in a compact module."""
  return batch_norm(x[..., None], keras_norm(momentum), train)
