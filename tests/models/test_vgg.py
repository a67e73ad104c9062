"""VGG13 against its layers in numpy; a clip's probability against its chunks'."""

import functools
import math

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.models import VGG13, Classifier
from jaxadv.models.blocks import Conv
from jaxadv.models.frontends import CHUNK_SAMPLES, log_mel_attack

WIDTH, CLASSES = 1 / 16, 5
MODEL = Classifier(log_mel_attack, VGG13(CLASSES, WIDTH))


@functools.cache
def variables():
  """Random in every leaf; variances from 1e-4 on, so that the epsilon shows."""
  x = jnp.zeros(CHUNK_SAMPLES, jnp.float32)
  shapes = jax.eval_shape(MODEL.init, jax.random.key(0), x)
  rng = np.random.default_rng(0)

  def leaf(path, shape):
    name = jax.tree_util.keystr(path)
    if "'var'" in name or "'scale'" in name:
      # drawn again below, together
      return np.zeros(shape.shape, np.float32)
    if "scaler" in name:
      return np.float32(17.0 if "deviation" in name else -40.0)
    fan_in = math.prod(shape.shape[:-1])
    # gains that let different chunks reach the end as different labels
    gain = np.sqrt(2 / fan_in) if fan_in > 1 else 0.2
    values = rng.normal(size=shape.shape) * gain
    return values.astype(np.float32)

  drawn = jax.tree_util.tree_map_with_path(leaf, shapes)
  for n in range(10):
    at = f"BatchNorm_{n}"
    scale = drawn["params"]["network"][at]["scale"]
    var = drawn["batch_stats"]["network"][at]["var"]
    var[:] = np.exp(rng.uniform(np.log(1e-4), 0, var.shape))
    # so that ten layers keep their values near 1, with this epsilon and no other
    scale[:] = rng.uniform(0.7, 1.5, var.shape) * np.sqrt(var + 1e-3)
  # a random network says nearly the same of everything: take that away
  network = {kind: drawn[kind]["network"] for kind in ("params", "batch_stats")}
  dense = network["params"]["Dense_0"]
  dense["kernel"] *= 8
  dense["bias"] -= by_hand.vgg13(network, standardised(clip(3))).mean(0)
  return drawn


def network_variables():
  """As VGG13 itself takes them."""
  return {kind: variables()[kind]["network"] for kind in ("params", "batch_stats")}


def clip(chunks: int) -> np.ndarray:
  """White noise, silence, a low tone; the first of them twice as loud."""
  rng = np.random.default_rng(0)
  x = np.zeros((3, CHUNK_SAMPLES), np.float32)
  x[0] = rng.uniform(-1, 1, CHUNK_SAMPLES)
  x[2] = 0.5 * np.sin(np.arange(CHUNK_SAMPLES) / 50)
  return x[:chunks].ravel()


def standardised(x: np.ndarray) -> np.ndarray:
  """What the network is given of a clip."""
  return (by_hand.log_mel_attack(x) + 40.0) / (17.0 + 1e-6)


@functools.cache
def jitted():
  probabilities = jax.jit(lambda v, x: jax.nn.softmax(MODEL.apply(v, x)))
  chunk_logits = jax.jit(lambda v, x: MODEL.apply(v, x, method=Classifier.chunk_logits))
  return probabilities, chunk_logits


def test_parameters_of_the_paper():
  model = VGG13(41)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 128, 64)))
  count = {
    kind: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
    for kind, tree in shapes.items()
  }
  assert count["params"] == 9_430_761
  assert count["params"] + count["batch_stats"] == 9_436_649


def test_keras_initialisers():
  # Glorot: uniform within sqrt(6 / (fan in + fan out))
  params = Conv(24).init(jax.random.key(1), jnp.zeros((1, 3, 3, 8)))["params"]
  bound = math.sqrt(6 / (9 * (8 + 24)))
  assert not params["bias"].any()
  assert 0.98 * bound < abs(params["kernel"]).max() <= bound
  assert np.std(params["kernel"]) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_layer_by_layer():
  x = np.random.default_rng(1).normal(size=(2, 128, 64)).astype(np.float32)
  found = jax.jit(VGG13(CLASSES, WIDTH).apply)(network_variables(), x)
  expected = by_hand.vgg13(network_variables(), x)
  assert np.ptp(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_clip_is_the_mean_of_its_chunks(chunks):
  x = clip(chunks)
  each = by_hand.softmax(by_hand.vgg13(network_variables(), standardised(x)))
  found = jitted()[0](variables(), x)
  np.testing.assert_allclose(found, each.mean(0), atol=1e-4)
  if chunks > 1:
    # where chunks disagree, a mean of logits or a geometric mean is something else
    geometric = by_hand.softmax(np.log(each).mean(0))
    assert np.abs(geometric - each.mean(0)).max() > 1e-3


def test_the_logits_of_one_chunk_differ_as_the_networks_own():
  x = clip(1)
  own = jitted()[1](variables(), log_mel_attack(jnp.asarray(x)))[0]
  clip_logits = np.log(jitted()[0](variables(), x))
  np.testing.assert_allclose(clip_logits - clip_logits[0], own - own[0], atol=1e-4)


def test_evaluation_ignores_the_rest_of_the_batch():
  chunk_logits = jitted()[1]
  rng = np.random.default_rng(2)
  x = (-40 + 17 * rng.normal(size=(4, 128, 64))).astype(np.float32)
  together = chunk_logits(variables(), x)
  np.testing.assert_array_equal(together, chunk_logits(variables(), x))
  loud = x.copy()
  loud[1:] *= 3
  np.testing.assert_allclose(chunk_logits(variables(), loud)[0], together[0], atol=1e-5)
  assert np.abs(chunk_logits(variables(), loud)[1] - together[1]).max() > 1e-2
  for n in range(4):
    alone = chunk_logits(variables(), x[n : n + 1])
    # a batch of another size is summed in another order
    np.testing.assert_allclose(alone[0], together[n], atol=1e-3)
