"""Random weights for any network, and what it is given."""

import math

import jax
import numpy as np


def variables(network, x, seed: int = 0):
  """Every leaf random, of sizes that keep the layers' values near 1.

  Running variances from 1e-4 on, so that another epsilon would show; the scale of a
  batch norm goes with its variance and epsilon 1e-3.
  """
  shapes = jax.eval_shape(network.init, jax.random.key(0), x)
  rng = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    if name == "var":
      return np.exp(rng.uniform(np.log(1e-4), 0, shape.shape))
    if name == "scale":
      return rng.uniform(0.7, 1.5, shape.shape)
    fan_in = math.prod(shape.shape[:-1])
    gain = math.sqrt((1 if name == "recurrent" else 2) / fan_in) if fan_in > 1 else 0.2
    return rng.normal(size=shape.shape) * gain

  drawn = jax.tree_util.tree_map_with_path(leaf, shapes)

  def match(params, stats):
    for name, inner in stats.items():
      if "var" in stats:
        params["scale"] *= np.sqrt(stats["var"] + 1e-3)
        return
      match(params[name], inner)

  match(drawn["params"], drawn["batch_stats"])
  return jax.tree.map(np.float32, drawn)
