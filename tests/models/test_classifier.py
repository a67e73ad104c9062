"""A clip's probability against its chunks', through VGG13 in torch."""

import functools

import by_hand
import drawn
import in_torch
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.special import softmax

from jaxadv.models import VGG13, Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES, log_mel_attack

NETWORK = VGG13(5, 1 / 16)
MODEL = Classifier(log_mel_attack, NETWORK)


def clip(chunks: int) -> np.ndarray:
  """White noise, silence, a low tone."""
  rng = np.random.default_rng(0)
  x = np.zeros((3, CHUNK_SAMPLES), np.float32)
  x[0] = rng.uniform(-1, 1, CHUNK_SAMPLES)
  x[2] = 0.5 * np.sin(np.arange(CHUNK_SAMPLES) / 50)
  return x[:chunks].ravel()


def chunk_logits(network, x: np.ndarray) -> np.ndarray:
  """[chunks * 65536] -> [chunks, classes]; mean -40 and deviation 17 taken away."""
  standard = (by_hand.log_mel_attack(x) + 40.0) / (17.0 + 1e-6)
  layers = in_torch.Layers(network)
  return in_torch.vgg13(layers, torch.tensor(standard)).numpy()


@functools.cache
def variables():
  """The network's, and the whole model's."""
  network = drawn.variables(NETWORK, jnp.zeros((1, 128, 64)))
  # a random network says nearly the same of everything: take that away
  dense = network["params"]["Dense_0"]
  dense["kernel"] *= 8
  dense["bias"] -= chunk_logits(network, clip(3)).mean(0).astype(np.float32)
  scaler = {"mean": np.float32(-40), "deviation": np.float32(17)}
  whole = {kind: {"network": leaves} for kind, leaves in network.items()}
  return network, whole | {"scaler": scaler}


@functools.cache
def probabilities(chunks):
  return np.exp(jax.jit(MODEL.apply)(variables()[1], clip(chunks)))


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_clip_is_the_mean_of_its_chunks(chunks):
  each = softmax(chunk_logits(variables()[0], clip(chunks)), axis=1)
  np.testing.assert_allclose(probabilities(chunks), each.mean(0), atol=1e-4)
  if chunks > 1:
    # where chunks disagree, a mean of logits or a geometric mean is something else
    geometric = softmax(np.log(each).mean(0))
    assert np.abs(geometric - each.mean(0)).max() > 1e-3


def test_the_logits_of_one_chunk_differ_as_the_networks_own():
  own = chunk_logits(variables()[0], clip(1))[0]
  of_clip = np.log(probabilities(1))
  np.testing.assert_allclose(of_clip - of_clip[0], own - own[0], atol=1e-4)
