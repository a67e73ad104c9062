"""Linear victims, of which the best universal perturbation is known."""

import jax.numpy as jnp
import numpy as np

from jaxadv import victim

CHUNK = 65536
CLASSES = ("high", "low", "middle")


def matrix(seed: int) -> np.ndarray:
  """[CHUNK, classes], smooth enough to be unlike noise, in every band."""
  rng = np.random.default_rng(seed)
  return rng.normal(size=(CHUNK, len(CLASSES))).astype(np.float32) / 256


def _linear(name: str, seed: int) -> victim.Victim:
  def logits(w, x):
    return x.reshape(-1, CHUNK).mean(0) @ w + jnp.array([2.0, 0.0, -9.0])

  return victim.of_function(name, logits, matrix(seed), CLASSES)


def linear() -> victim.Victim:
  """Logits of the mean over a clip's chunks: "high" says nearly everything."""
  return _linear("linear", 0)


def other() -> victim.Victim:
  return _linear("other", 1)
