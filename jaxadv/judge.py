"""What a victim says of stored examples: in float32 at the highest matmul precision."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def judge(logits_fn: Callable) -> Callable[[Any, np.ndarray], np.ndarray]:
  """Jitted: params, x [B, ...] -> logits [B, classes], numpy.

  `logits_fn(params, x [...]) -> [classes]`, in eval mode. Matrix products and
  convolutions run in full float32 also where the device's default is TF32 or bfloat16.
  """

  @jax.jit
  def logits(params, x):
    with jax.default_matmul_precision("highest"):
      return jax.vmap(logits_fn, (None, 0))(params, x)

  return lambda params, x: np.asarray(logits(params, x))
