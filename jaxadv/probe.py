"""A victim and a few clips, in one compiled program: what the guards look through."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core import Array, Bind, Example


class Flag(NamedTuple):
  """What makes the numbers of an attack on this victim doubtful.

  name: of the guard. said: what is wrong, and what to do. examples: ids.
  """

  name: str
  said: str
  examples: tuple[int, ...]


class Answer(NamedTuple):
  logits: np.ndarray  # [B, K]
  grad: np.ndarray  # [B, n], of weights . logits


class Probe:
  """Logits, and the gradient of any weighting of them, at x + delta; compiled once."""

  def __init__(self, bind: Bind, params: Any, key: Array, examples: Example):
    self.examples = jax.tree.map(jnp.asarray, examples)
    self.ids, self.key = np.asarray(examples.id), key
    self.shape, count = np.shape(examples.x), len(examples.x)
    self.x = np.asarray(examples.x, np.float32).reshape(count, -1)
    self.mask = np.asarray(examples.mask).reshape(count, -1)
    self.labels = np.ndim(examples.label) == 2
    one = bind(params, key, jax.tree.map(lambda leaf: leaf[0], self.examples))
    self.classes = jax.eval_shape(one.logits, one.zero).shape[0]
    self.norm, self.box, self.objective = one.norm, one.box, one.objective
    self._params, self._bind = params, bind

    def look(params, key, example, delta, weights):
      problem = bind(params, key, example)
      with jax.default_matmul_precision("highest"):
        logits, pull_back = jax.vjp(problem.logits, delta)
        return logits, *pull_back(weights.astype(logits.dtype))

    self._look = jax.jit(jax.vmap(look, (None, None, 0, 0, 0)))

  def at(
    self,
    delta: Any = 0.0,
    weights: Any = 0.0,
    key: Array | None = None,
    examples: Example | None = None,
  ) -> Answer:
    """delta: [B, n]; weights: [B, K]; another key or other clips where given."""
    logits, grad = self._look(
      self._params,
      self.key if key is None else key,
      examples or self.examples,
      np.broadcast_to(np.float32(delta), self.x.shape).reshape(self.shape),
      np.broadcast_to(np.float32(weights), (len(self.x), self.classes)),
    )
    grad = np.asarray(grad, np.float64).reshape(self.x.shape)
    return Answer(np.asarray(logits, np.float64), grad)

  def start(self, noise: np.ndarray) -> np.ndarray:
    """noise [B, n] scaled to the radius, or to 40 dB below the clip without one."""

    def limits(example):
      problem = self._bind(self._params, self.key, example)
      return problem.radius, 0.01 * problem.norm.size(example.x)

    radius, quiet = (np.asarray(v) for v in jax.vmap(limits)(self.examples))
    size = np.asarray(jax.vmap(self.norm.size)(jnp.float32(noise)))
    radius = np.where(np.isfinite(radius), radius, quiet)
    heard = np.clip(self.x + noise * (radius / size)[:, None], *self.box)
    return (heard - self.x) * self.mask

  def flags(self, name: str, wrong: Any, said: str) -> Iterator[Flag]:
    """One flag where a clip is wrong; wrong: [B]."""
    if wrong.any():
      count = f"{wrong.sum()} of {len(wrong)} clips"
      yield Flag(name, said.format(count=count), tuple(map(int, self.ids[wrong])))
