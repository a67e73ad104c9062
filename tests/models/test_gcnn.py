"""GCNN against its layers in numpy."""

import functools
import math

import by_hand
import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.models import GCNN, Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES, log_mel_attack

WIDTH, CLASSES = 1 / 32, 5
NETWORK = GCNN(CLASSES, WIDTH)


@functools.cache
def variables():
  """Random in every leaf, of sizes that keep ten layers near 1."""
  shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 128, 64)))
  rng = np.random.default_rng(0)

  def leaf(path, shape):
    name = jax.tree_util.keystr(path)
    if "'var'" in name:  # from 1e-4 on, so that the epsilon shows
      return np.exp(rng.uniform(np.log(1e-4), 0, shape.shape)).astype(np.float32)
    fan_in = math.prod(shape.shape[:-1])
    gain = np.sqrt(2 / fan_in) if fan_in > 1 else 0.2
    return (rng.normal(size=shape.shape) * gain).astype(np.float32)

  drawn = jax.tree_util.tree_map_with_path(leaf, shapes)
  for n in range(10):
    norm, seen = (drawn[k][f"BatchNorm_{n}"] for k in ("params", "batch_stats"))
    norm["scale"] = rng.uniform(0.7, 1.5, seen["var"].shape) * np.sqrt(
      seen["var"] + 1e-3
    )
  return jax.tree.map(np.float32, drawn)


def by_layers(x: np.ndarray) -> np.ndarray:
  """Conv, first half times sigmoid of the second, batch norm, twice; pool; five times;
  mean; dense. [B, frames, bands] -> [B, classes], float64."""
  x = np.float64(x)[..., None]
  params, stats = variables()["params"], variables()["batch_stats"]
  for n in range(10):
    conv, norm = params[f"Conv_{n}"], params[f"BatchNorm_{n}"]
    x = by_hand.convolve(x, np.float64(conv["kernel"])) + np.float64(conv["bias"])
    half = x.shape[-1] // 2
    x = x[..., :half] / (1 + np.exp(-x[..., half:]))
    seen = stats[f"BatchNorm_{n}"]
    x = (x - np.float64(seen["mean"])) / np.sqrt(np.float64(seen["var"]) + 1e-3)
    x = x * norm["scale"] + norm["bias"]
    if n % 2:
      x = by_hand.pool(x)
  dense = params["Dense_0"]
  return x.mean((1, 2)) @ np.float64(dense["kernel"]) + dense["bias"]


def test_parameters_of_the_original():
  shapes = jax.eval_shape(GCNN(41).init, jax.random.key(0), jnp.zeros((1, 128, 64)))
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  assert count == 18_840_489


def test_layer_by_layer():
  x = np.random.default_rng(1).normal(size=(2, 128, 64)).astype(np.float32)
  found = jax.jit(NETWORK.apply)(variables(), x)
  expected = by_layers(x)
  assert np.ptp(expected) > 0.1 and np.abs(expected[0] - expected[1]).max() > 1e-2
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_finite_gradients_on_silence():
  model = Classifier(log_mel_attack, NETWORK)
  held = {kind: {"network": leaves} for kind, leaves in variables().items()}
  held["scaler"] = {"mean": jnp.float32(-40.0), "deviation": jnp.float32(17.0)}
  gradient = jax.jit(jax.grad(lambda x: model.apply(held, x)[0]))
  quiet = gradient(jnp.zeros(CHUNK_SAMPLES))
  assert np.isfinite(quiet).all()
  noise = np.random.default_rng(2).normal(0, 0.1, CHUNK_SAMPLES)
  loud = np.asarray(gradient(noise.astype(np.float32)))
  assert np.isfinite(loud).all() and np.abs(loud).max() > 0
