"""Our victims restated in torch, with our weights, as the other libraries want them."""
# pyright: reportMissingImports=false

import copy
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F

from jaxadv.errors import InputError
from jaxadv.judge import judge
from jaxadv.losses import cross_entropy
from jaxadv.models import GCNN, VGG13, Classifier
from jaxadv.models.frontends import (
  CHUNK_FRAMES,
  HOP,
  MELS,
  N_FFT,
  log_mel_attack,
  mel_filters,
)

# largest difference of logits, in units of the largest logit where that is over 1:
# rounding differs from CPU to CPU, and by 2e-4 of 4.7 on a clip without treble
AGREEMENT = 1e-4
_ACTIVATIONS = {VGG13: F.relu, GCNN: lambda x: F.glu(x, dim=1)}


class TorchVictim(torch.nn.Module):
  """Waveforms [B, samples] in [-1, 1] -> logits [B, classes], as `Classifier` has them.

  log_mel_attack, scaler, ten convolutions with activation and batch norm, log of the
  mean over chunks of the softmax. Parameters are frozen, mode is eval. InputError for a
  victim that is not restated here.
  """

  def __init__(self, model: Classifier, variables: Any):
    super().__init__()
    activation = _ACTIVATIONS.get(type(model.network))
    if activation is None or model.frontend is not log_mel_attack:
      raise InputError(
        "the victim has no restatement in torch: take a vgg13 or a gcnn that was "
        "trained on log_mel_attack"
      )
    self._activation = activation
    params = variables["params"]["network"]
    stats = variables["batch_stats"]["network"]
    self._convs = torch.nn.ParameterList()
    self._norms = torch.nn.ParameterList()
    for n in range(10):
      conv, norm = params[f"Conv_{n}"], params[f"BatchNorm_{n}"]
      seen = stats[f"BatchNorm_{n}"]
      kernel = np.transpose(np.asarray(conv["kernel"]), (3, 2, 0, 1))
      self._convs.extend(map(_frozen, (kernel, conv["bias"])))
      each = (seen["mean"], seen["var"], norm["scale"], norm["bias"])
      self._norms.extend(map(_frozen, each))
    dense = params["Dense_0"]
    self._dense = _frozen(np.asarray(dense["kernel"]).T)
    self._bias = _frozen(dense["bias"])
    self._window = _frozen(np.hanning(N_FFT + 1)[:-1])
    self._filters = _frozen(mel_filters())
    self._mean = float(variables["scaler"]["mean"])
    self._deviation = float(variables["scaler"]["deviation"])
    self.eval()

  def forward(self, x):
    features = (self._log_mel(x) - self._mean) / (self._deviation + 1e-6)
    chunks = features.reshape(-1, 1, CHUNK_FRAMES, MELS)
    log_probs = (
      self._network(chunks).log_softmax(1).reshape(len(x), -1, len(self._bias))
    )
    return log_probs.logsumexp(1) - np.log(log_probs.shape[1])

  def _log_mel(self, x):
    hops = F.pad(x, (0, HOP)).reshape(len(x), -1, HOP)
    frames = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2)
    spectrum = torch.fft.rfft(frames * self._window)
    mel = (spectrum.real**2 + spectrum.imag**2) @ self._filters
    decibels = 10 * torch.log10(mel + 1e-6)
    return decibels - decibels.amax((1, 2), keepdim=True)

  def _network(self, x):
    for n in range(10):
      kernel, bias = self._convs[2 * n : 2 * n + 2]
      mean, var, scale, shift = self._norms[4 * n : 4 * n + 4]
      x = self._activation(F.conv2d(x, kernel, bias, padding=1))
      x = F.batch_norm(x, mean, var, scale, shift, eps=1e-3)
      if n % 2:
        x = F.max_pool2d(x, 2)
    return F.linear(x.mean((2, 3)), self._dense, self._bias)


def _frozen(values):
  tensor = torch.tensor(np.asarray(values, np.float32))
  return torch.nn.Parameter(tensor, requires_grad=False)


class Images(torch.nn.Module):
  """The victim as a classifier of images [B, ...] in [0, 1], which counts its passes.

  forwards, backwards: of examples, not of calls.
  """

  def __init__(self, victim: TorchVictim):
    super().__init__()
    self._victim = victim
    self.reset()

  def reset(self) -> None:
    self.forwards = self.backwards = 0

  def forward(self, images):
    logits = self._victim(to_waveforms(images))
    self.forwards += len(logits)
    if logits.requires_grad:
      logits.register_hook(self._count_backward)
    return logits

  def _count_backward(self, grad):
    self.backwards += len(grad)


def to_images(x: np.ndarray, shape: tuple[int, ...]):
  """[B, samples] in [-1, 1] -> torch [B, *shape] in [0, 1]."""
  return torch.tensor((x + 1) / 2).reshape(-1, *shape)


def to_waveforms(images):
  """Torch or numpy, [B, ...] in [0, 1] -> [B, samples] in [-1, 1]."""
  return 2 * images.reshape(len(images), -1) - 1


def export(model: Classifier, variables: Any, x: np.ndarray) -> tuple[Images, str]:
  """The victim for the other libraries, and how well it agrees on clips x.

  InputError where logits differ by more than AGREEMENT says.
  """
  victim = TorchVictim(model, variables)
  ours = judge(model.apply)(variables, x)
  theirs, grads = _logits_and_grads(victim, x, ours.argmax(1))
  worst = float(np.abs(ours - theirs).max())
  allowed = AGREEMENT * max(1.0, float(np.abs(ours).max()))
  if not worst <= allowed:
    raise InputError(
      f"logits of the victim in torch differ by {worst:.1e} from ours: at most "
      f"{allowed:.0e} is allowed"
    )
  off = _furthest(grads, _grads(model, variables, x, ours.argmax(1)))
  jump = _jump(victim, x, ours.argmax(1))
  return Images(victim), (
    f"logits in torch differ by at most {worst:.1e} from ours, gradients of the "
    f"cross-entropy by at most {off:.1e} of their size, on {len(x)} clips; in float64 "
    f"they jump by up to {jump:.1e} where a clip moves by a millionth of itself"
  )


def _furthest(grads, expected):
  """The largest difference of one clip's gradients, in units of the expected one."""
  sizes = np.maximum(np.linalg.norm(expected, axis=1), 1e-30)
  return float((np.linalg.norm(grads - expected, axis=1) / sizes).max())


def _jump(victim, x, labels):
  """How far a gradient changes with no rounding and next to no step: it is not
  continuous where a unit or a pool switches."""
  exact, x = copy.deepcopy(victim).double(), x.astype(np.float64)
  moved = x * (1 + 1e-6 * np.random.default_rng(0).standard_normal(x.shape))
  _, before = _logits_and_grads(exact, x, labels)
  _, after = _logits_and_grads(exact, moved, labels)
  return _furthest(after, before)


def _logits_and_grads(victim, x, labels):
  held = torch.tensor(x, requires_grad=True)
  logits = victim(held)
  loss = F.cross_entropy(logits, torch.tensor(labels), reduction="sum")
  (grads,) = torch.autograd.grad(loss, held)
  return logits.detach().numpy(), grads.numpy()


def _grads(model, variables, x, labels):
  def loss(x, label):
    return cross_entropy(model.apply(variables, x), label)

  with jax.default_matmul_precision("highest"):
    return np.asarray(jax.jit(jax.vmap(jax.grad(loss)))(x, labels))
