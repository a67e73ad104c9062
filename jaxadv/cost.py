"""What a victim costs: its parameters, and milliseconds for a clip of one chunk."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

_SAMPLES = 65536  # one chunk
_REPEATS = 7


def count_parameters(variables: Any) -> dict[str, int]:
  """Numbers in each collection ("params", "batch_stats", ...) of a Flax victim; of any
  other tree, all of them as "params"."""
  if not isinstance(variables, Mapping) or "params" not in variables:
    variables = {"params": variables}
  return {
    name: sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))
    for name, tree in variables.items()
  }


def measure_ms(logits: Callable, variables: Any) -> tuple[float, float]:
  """(forward, forward + input gradient): medians of 7, of one clip of 65,536 samples.

  logits: (variables, x [samples]) -> [classes], jitted here. The gradient is of the
  cross-entropy of class 0; compilation is not counted.
  """

  def loss(variables, x):
    return -jax.nn.log_softmax(logits(variables, x))[0]

  x = np.random.default_rng(0).uniform(-0.1, 0.1, _SAMPLES).astype(np.float32)
  timed = (jax.jit(logits), jax.jit(jax.grad(loss, argnums=1)))
  forward, gradient = (_median_ms(one, variables, x) for one in timed)
  return forward, gradient


def _median_ms(function: Callable, variables: Any, x: np.ndarray) -> float:
  jax.block_until_ready(function(variables, x))
  seconds = []
  for _ in range(_REPEATS):
    began = time.perf_counter()
    jax.block_until_ready(function(variables, x))
    seconds.append(time.perf_counter() - began)
  return 1000 * float(np.median(seconds))


def facts(logits: Callable, variables: Any) -> dict[str, str]:
  """The rows of a model card on parameters and time."""
  forward_ms, gradient_ms = measure_ms(logits, variables)
  of_chunk = f"ms for a clip of {_SAMPLES} samples, median of {_REPEATS}"
  counts = count_parameters(variables)
  return {
    **{f"numbers in {name}": f"{count:,}" for name, count in counts.items()},
    "forward": f"{forward_ms:.2f} {of_chunk}",
    "forward and input gradient": f"{gradient_ms:.2f} {of_chunk}",
    "machine": f"{machine()}, jax {jax.__version__}",
  }


def machine() -> str:
  """Kind of device, CPU cores, architecture."""
  device = jax.local_devices()[0]
  return f"{device.device_kind} ({os.cpu_count()} cores, {platform.machine()})"
