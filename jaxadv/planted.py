"""Planted adversaries: does an attack find what is known to be there?

Around each clip a binary victim is made that has an adversarial by construction. An
attack that misses it says nothing of the original victim's robustness.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.core import Example
from jaxadv.problem import Threat

Array = jax.Array
CLASSES = 4  # label, planted, and two that are out of reach, for losses that need them
_UNREACHABLE = -1e3


class Planted(NamedTuple):
  """A readout of the victim's features, with an adversarial on the ball's surface.

  `separable`: False where no linear readout told the planted point from the inner ones;
  such a clip proves nothing.
  """

  weights: Array  # [d]
  threshold: Array  # []
  delta: Array  # [...], the planted perturbation
  separable: Array  # bool []


def plant(
  features_fn: Callable,
  params: Any,
  key: Array,
  example: Example,
  threat: Threat,
  *,
  inner: int = 500,
  hardness: float = 0.9,
) -> Planted:
  """A readout that calls one point of the surface 1, and `inner` points of the ball 0.

  features_fn: (params, x [...]) -> [d], the victim up to its last layer, or its logits.
  Fisher's linear discriminant of the features; its threshold lies `hardness` of the way
  from the nearest inner point to the planted one. Zimmermann et al., Increasing
  Confidence in Adversarial Robustness Evaluations, NeurIPS 2022 (the binary
  test; there the readout is a logistic regression).
  """
  norm, radius = threat.norm, threat.radius_of(example)
  low, high = threat.box
  k_inner, k_surface = jax.random.split(key)

  def point(key):
    return norm.sample(key, example.mask)

  def fit(delta):
    return (jnp.clip(example.x + delta, low, high) - example.x) * example.mask

  surface = point(k_surface)
  delta = fit(surface * (radius / jnp.maximum(norm.size(surface), 1e-30)))
  points = jax.vmap(lambda key: fit(point(key) * radius))(
    jax.random.split(k_inner, inner)
  )
  points = jnp.concatenate([points, jnp.zeros_like(points[:1])])  # the clean clip
  features = jax.lax.map(lambda d: features_fn(params, example.x + d), points)
  there = features_fn(params, example.x + delta)
  centre = features.mean(0)
  spread = (features - centre).T @ (features - centre) / len(features)
  ridge = 1e-4 * jnp.trace(spread) / len(spread) + 1e-20
  weights = jnp.linalg.solve(spread + ridge * jnp.eye(len(spread)), there - centre)
  weights = weights / jnp.maximum(jnp.linalg.norm(weights), 1e-30)
  nearest, planted = jnp.max(features @ weights), there @ weights
  gap = planted - nearest
  scale = 1.0 / jnp.maximum(jnp.std(features @ weights), 1e-20)
  threshold = nearest + hardness * gap
  return Planted(weights * scale, threshold * scale, delta, gap > 0)


def planted_logits(features_fn: Callable) -> Callable:
  """logits_fn of the planted victims: ((params, Planted), x [...]) -> [4]; label 0.

  Class 1 is the planted one; classes 2 and 3 are never reached.
  """

  def logits(params, x):
    params, planted = params
    score = features_fn(params, x) @ planted.weights - planted.threshold
    return jnp.stack([-score, score, *[jnp.full_like(score, _UNREACHABLE)] * 2])

  return logits
