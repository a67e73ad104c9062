"""The JAX twins of the transforms: differentiable, and equal to numpy's up to rounding.

But for pitch and stretch of clips shorter than 2048 samples, and pitch to 0.5%
(`vocoder`). A twin takes its parameters from the transform itself, so there is one set
of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from jaxadv.errors import InputError
from jaxadv.transforms import in_jax
from jaxadv.transforms.transform import Transform, apply_links, no_draws

Array = jax.Array


@dataclass(frozen=True, eq=False)
class Twin:
  """A transform in JAX, for any length, under jit, vmap and grad.

  draw: key, samples -> draws of the same form and distribution as the transform's.
  apply: x float32 [samples], draws, length=None -> float32 [samples]. length: int32 [],
    the samples that are the clip, the rest is padding: what comes back is what the
    transform makes of the clip alone, then zeros.
  `twin(key, x, length)` is both: a sample for `jaxadv.problem.bind_through`.
  """

  draw: Callable[[Array, int], Any]
  apply: Callable[..., Array]

  def __call__(self, key: Array, x: Array, length: Array | None = None) -> Array:
    return self.apply(x, self.draw(key, len(x)), length)


def twin(of: Transform) -> Twin | None:
  """The twin, or None where there is none: user's own functions.

  Codecs run their numpy reference on the host and have the identity's gradient, as
  rounding has: BPDA, Athalye et al., Obfuscated Gradients Give a False Sense of
  Security, ICML 2018, section 4.1. `through_host` does that to any transform.
  """
  (draw, drawn_with), (apply, applied_with) = _parts(of.draw), _parts(of.apply)
  if apply is apply_links:
    return _chain([twin(link) for link in applied_with["links"]])
  if draw not in in_jax.DRAWS or apply not in in_jax.APPLIES:
    return None
  return Twin(
    partial(in_jax.DRAWS[draw], **drawn_with),
    in_jax.within(partial(in_jax.APPLIES[apply], **applied_with)),
  )


def _parts(function: Callable) -> tuple[Callable, dict[str, Any]]:
  """A function, and the parameters that a partial of it holds."""
  if isinstance(function, partial):
    return function.func, function.keywords
  return function, {}


def _chain(twins: list[Twin | None]) -> Twin | None:
  links = [link for link in twins if link is not None]
  if len(links) < len(twins):
    return None

  def draw(key, samples):
    keys = jax.random.split(key, len(links))
    return tuple(link.draw(k, samples) for link, k in zip(links, keys, strict=True))

  def apply(x, draws, length=None):
    for link, drawn in zip(links, draws, strict=True):
      x = link.apply(x, drawn, length)
    return x

  return Twin(draw, apply)


def through_host(of: Transform) -> Twin:
  """Forward the transform itself, called back on the host; backward the identity.

  For a transform without draws. The identity is a poor gradient where samples move.
  """
  if of.draw is not no_draws:
    raise InputError(
      f"{of.name} is random: only transforms without draws can be called"
    )
  return Twin(no_draws, in_jax.within(partial(in_jax.call_host, apply=of.apply)))
