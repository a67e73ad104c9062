"""The five networks again, in float64 torch, from their papers' facts; no code of ours.

Each is a function (layers, x) -> logits or log probabilities [B, classes]. `Layers`
reads the weights under Flax's names, in the order in which the layers come, and keeps
what each layer put out, so that a comparison can name the first that differs.
"""

from collections import Counter
from typing import NamedTuple

import librosa
import numpy as np
import torch
import torch.nn.functional as F

Tensor = torch.Tensor
VGG_CHANNELS = (64, 128, 256, 512, 512)
DENSE_CHANNELS = (16, 32, 64, 128, 256, 512, 512, 512)


class Output(NamedTuple):
  """What a layer put out, channels last. path: of the Flax module."""

  kind: str
  path: tuple[str, ...]
  value: Tensor


class Layers:
  """Layers of one Flax module, each call the next of its kind. [B, C, H, W] inside."""

  def __init__(self, variables, path=(), outputs=None):
    self.variables, self.path = variables, path
    self.outputs: list[Output] = [] if outputs is None else outputs
    self.seen: Counter[str] = Counter()

  def _next(self, name):
    path = (*self.path, f"{name}_{self.seen[name]}")
    self.seen[name] += 1
    return path

  def _leaves(self, path, collection="params"):
    tree = self.variables[collection]
    for name in path:
      tree = tree[name]
    return {name: torch.tensor(np.float64(leaf)) for name, leaf in tree.items()}

  def _keep(self, kind, path, value, channels_at=1):
    self.outputs.append(Output(kind, path, value.movedim(channels_at, -1)))
    return value

  def inside(self, name):
    return Layers(self.variables, self._next(name), self.outputs)

  def conv(self, x):
    path = self._next("Conv")
    leaves = self._leaves(path)
    h, w = leaves["kernel"].shape[:2]
    out = F.conv2d(
      x, leaves["kernel"].permute(3, 2, 0, 1), leaves["bias"], padding=(h // 2, w // 2)
    )
    first = ", 1 input channel" if x.shape[1] == 1 else ""
    return self._keep(f"conv {h}x{w}{first}", path, out)

  def norm(self, x, channels_at=1, kind="batch norm"):
    """gamma (x - running mean) / sqrt(running variance + 1e-3) + beta."""
    path = self._next("BatchNorm")
    leaves, seen = self._leaves(path), self._leaves(path, "batch_stats")
    out = F.batch_norm(
      x.movedim(channels_at, 1),
      *(seen["mean"], seen["var"], leaves["scale"], leaves["bias"]),
      training=False,
      eps=1e-3,
    ).movedim(1, channels_at)
    return self._keep(kind, path, out, channels_at)

  def dense(self, x, kind="dense"):
    path = self._next("Dense")
    leaves = self._leaves(path)
    return self._keep(kind, path, x @ leaves["kernel"] + leaves["bias"], -1)

  def gru(self, x, backward=False):
    """Keras 2.2.4: hard sigmoid, the reset before the product, ReLU. [B, T, I].

    The states are in the order in which they were computed.
    """
    path = self._next("GRU")
    leaves = self._leaves(path)
    wz, wr, wh = leaves["kernel"].chunk(3, 1)
    uz, ur, uh = leaves["recurrent"].chunk(3, 1)
    bz, br, bh = leaves["bias"].chunk(3)
    h = torch.zeros(len(x), len(uz), dtype=x.dtype)
    states = []
    for t in range(x.shape[1]):
      now = x[:, -1 - t if backward else t]
      z = (0.2 * (now @ wz + h @ uz + bz) + 0.5).clamp(0, 1)
      r = (0.2 * (now @ wr + h @ ur + br) + 0.5).clamp(0, 1)
      h = z * h + (1 - z) * F.relu(now @ wh + (r * h) @ uh + bh)
      states.append(h)
    return self._keep("GRU", path, torch.stack(states, 1), -1)


def same_pool(x: Tensor, window) -> Tensor:
  """TensorFlow's 'SAME': sizes rounded up, the odd one of the padding at the end."""
  pads = []
  for size, length in zip(window[::-1], (x.shape[3], x.shape[2]), strict=True):
    pad = -(-length // size) * size - length
    pads += [pad // 2, pad - pad // 2]
  return F.max_pool2d(F.pad(x, pads, value=-torch.inf), tuple(window))


def kapre_mel(x: Tensor) -> Tensor:
  """SPEC A2: [B, n] -> [B, n / 128, 64], by torch.stft and librosa's filters."""
  spectrum = torch.stft(
    F.pad(x, (448, 448)),
    n_fft=1024,
    hop_length=128,
    window=torch.hann_window(1024, periodic=True, dtype=x.dtype),
    center=False,
    return_complex=True,
  )
  filters = librosa.filters.mel(sr=32000, n_fft=1024, n_mels=64, dtype=np.float64)
  power = torch.tensor(filters) @ (spectrum.real**2 + spectrum.imag**2)
  decibels = 10 * torch.log10(power.sqrt().clamp(min=1e-10))
  decibels = decibels - decibels.amax((1, 2), keepdim=True)
  return decibels.clamp(min=-80).transpose(1, 2)


def _vgg_blocks(layers, x, activation):
  x = x[:, None]
  for _ in VGG_CHANNELS:
    for _ in range(2):
      x = layers.norm(activation(layers.conv(x)))
    x = F.max_pool2d(x, 2)
  return x


def vgg13(layers: Layers, x: Tensor) -> Tensor:
  x = _vgg_blocks(layers, x, F.relu)
  return layers.dense(x.mean((2, 3)), "logits")


def gcnn(layers: Layers, x: Tensor) -> Tensor:
  def gated(x):
    linear, gate = x.chunk(2, 1)
    return linear * torch.sigmoid(gate)

  x = _vgg_blocks(layers, x, gated)
  return layers.dense(x.mean((2, 3)), "logits")


def crnn(layers: Layers, x: Tensor) -> Tensor:
  x = _vgg_blocks(layers, x, F.relu).mean(3).transpose(1, 2)
  ahead = layers.gru(x)
  back = layers.gru(x, backward=True)
  both = torch.cat([ahead, back.flip(1)], 2)
  return layers.dense(both.mean(1), "logits")


def _dense_body(layers, x, pool):
  """[B, 1, H, W] -> log of the mean of eight softmaxes."""
  x = torch.cat([x, layers.conv(x)], 1)
  for _ in DENSE_CHANNELS:
    new = layers.conv(F.relu(layers.norm(x)))
    new = layers.conv(F.relu(layers.norm(new)))
    gate = F.relu(layers.dense(new.mean((2, 3)), "squeeze"))
    gate = torch.sigmoid(layers.dense(gate, "excitation"))
    x = same_pool(torch.cat([new * gate[:, :, None, None], x], 1), pool)
  x = F.relu(layers.norm(x)).movedim(1, -1)
  path = layers._next("Dense")
  leaves = layers._leaves(path)
  heads = zip(leaves["kernel"].chunk(8, 1), leaves["bias"].chunk(8), strict=True)
  # every head at every position, then the mean over positions
  probs = [(x @ kernel + bias).mean((1, 2)).softmax(-1) for kernel, bias in heads]
  return (sum(probs) / 8).log()


def dense_mel(layers: Layers, x: Tensor) -> Tensor:
  x = layers.norm(x[:, None], kind="batch norm, waveform")[:, 0]
  inner = layers.inside("DenseSpectral")
  x = inner.norm(kapre_mel(x), channels_at=2, kind="kapre mel, batch norm")
  return _dense_body(inner.inside("_Body"), x[:, None], (2, 2))


def dense_wav(layers: Layers, x: Tensor) -> Tensor:
  x = layers.norm(x[:, None], kind="batch norm, waveform")
  return _dense_body(layers.inside("_Body"), x[:, :, None], (1, 4))


NETWORKS = {
  "vgg13": vgg13,
  "crnn": crnn,
  "gcnn": gcnn,
  "dense_mel": dense_mel,
  "dense_wav": dense_wav,
}
