"""Victims of a dozen numbers, so that an attack costs microseconds."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import core, drive, losses, problem

DUAL = {  # closed forms, on float64 numpy; l0's within -1 <= d <= 1
  "l0": lambda w: np.abs(w).max(),
  "l1": lambda w: np.abs(w).max(),
  "l2": lambda w: np.sqrt((w**2).sum()),
  "linf": lambda w: np.abs(w).sum(),
}
SIZE = {
  "l0": np.count_nonzero,
  "l1": DUAL["linf"],
  "l2": DUAL["l2"],
  "linf": DUAL["l1"],
}


class Linear(NamedTuple):
  """logits = weights @ x + offset. [K, n], [K]."""

  weights: np.ndarray
  offset: np.ndarray

  @staticmethod
  def logits(params: Any, x: Any) -> Any:
    return params[0] @ x + params[1]


class Curved(NamedTuple):
  """logits = readout @ tanh(hidden @ x). [K, m], [m, n]."""

  readout: np.ndarray
  hidden: np.ndarray

  @staticmethod
  def logits(params: Any, x: Any) -> Any:
    tanh = np.tanh if isinstance(x, np.ndarray) else jnp.tanh
    return params[0] @ tanh(params[1] @ x)


class Deep(NamedTuple):
  """logits of a network of ReLUs. Its layers, [n, m] each."""

  layers: tuple[np.ndarray, ...]

  @staticmethod
  def logits(params: Any, x: Any) -> Any:
    *hidden, last = params[0]
    for weights in hidden:
      x = jnp.maximum(x @ weights, 0)
    return x @ last


def linear(seed: int, classes: int, n: int) -> Linear:
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  return Linear(draw(classes, n), 0.3 * draw(classes))


def curved(seed: int, classes: int = 4, n: int = 12) -> Curved:
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  return Curved(draw(classes, 16), 0.8 * draw(16, n))


def deep(n: int) -> Deep:
  """Five hidden layers of 64, ten classes, random."""
  rng = np.random.default_rng(0)
  widths = itertools.pairwise((n, 64, 64, 64, 64, 64, 10))
  scales = [1, 2, 2, 2, 2, 2]  # a ReLU halves the power
  return Deep(
    tuple(
      np.float32(rng.normal(0, np.sqrt(scale / a), (a, b)))
      for scale, (a, b) in zip(scales, widths, strict=True)
    )
  )


def examples(
  x: np.ndarray, label: Any, target: Any = -1, mask: Any = 1
) -> core.Example:
  """A stack of examples with ids from 0. [B, n], [B] -> Example of [B, ...]."""
  x = np.asarray(x, np.float32)
  each = [np.broadcast_to(v, len(x)).astype(np.int32) for v in (label, target)]
  mask = np.broadcast_to(mask, x.shape).astype(np.float32)
  return core.Example(np.arange(len(x), dtype=np.int32), x, mask, *each)


def now_and_then(silent: float) -> Callable[..., jax.Array]:
  """A random linear victim that says NaN of a share of the points."""

  def logits(params, key, x):
    # each point has a draw of its own, of all that a step asks about
    of_point = jax.lax.bitcast_convert_type(jnp.sum(x), jnp.uint32)
    lost = jax.random.bernoulli(jax.random.fold_in(key, of_point), silent)
    return jnp.where(lost, jnp.nan, Linear.logits(params, x))

  return logits


def solver(
  attack: core.Attack,
  threat: problem.Threat,
  victim: type,
  *,
  objective: losses.Objective | None = None,
  goal: core.Goal | None = None,
) -> Callable[..., drive.Lane]:
  """victim, examples, seed, radius -> every example at its end, numpy.

  radius: [] or [B], in place of the threat's. Compiles once for one shape.
  """

  def one(params, key, example, radius):
    bound = problem.bind(
      victim.logits, threat._replace(radius=radius), objective or losses.untargeted()
    )
    return drive.solve(
      drive.driver(attack, bind=bound, goal=goal), params, key, example
    )

  every = jax.jit(jax.vmap(one, (None, None, 0, 0)))

  def solve(victim, stack, seed=0, radius=threat.radius):
    radius = np.broadcast_to(np.float32(radius), len(stack.x))
    return jax.device_get(every(tuple(victim), jax.random.key(seed), stack, radius))

  return solve
