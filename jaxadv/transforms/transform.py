"""What a transform is: random draws, then a function of the waveform and the draws."""

import hashlib
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxadv.errors import InputError

SAMPLE_RATE_HZ = 32000
NYQUIST_HZ = SAMPLE_RATE_HZ / 2

Draws = tuple[Any, ...]


class Transform(NamedTuple):
  """What happens to a recording between attacker and victim. The numpy reference.

  draw: numpy Generator, samples -> draws, a tuple of arrays (): all randomness.
  apply: x float32 [samples] at 32 kHz, draws -> float32 [samples]; deterministic.

  `transform(x, rng)` is both, checked. Nothing is clipped to [-1, 1] unless the factory
  says so. `draw` and `apply` are module-level functions, or `functools.partial`s of
  them: so worker processes can have them, and `twins.twin` finds their JAX form.
  """

  name: str
  draw: Callable[[np.random.Generator, int], Draws]
  apply: Callable[[np.ndarray, Draws], np.ndarray]

  @property
  def random(self) -> bool:
    """Whether its draws differ: not without draws, nor of a gain within +- 0 dB."""
    drawn = [self.draw(np.random.default_rng(n), SAMPLE_RATE_HZ) for n in range(4)]
    return len({pickle.dumps(draws) for draws in drawn}) > 1

  def same_as(self, other: "Transform") -> bool:
    """Whether both do the same, whatever they are called."""
    return pickle.dumps(self[1:]) == pickle.dumps(other[1:])

  def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The transformed waveform. [samples] -> float32 [samples]; x is left alone.

    Raises InputError unless x is one finite channel, and if what comes out is not as
    long as x, or not finite.
    """
    if np.ndim(x) != 1:
      raise InputError(
        f"a waveform of shape {np.shape(x)}: transforms take one channel, [samples]"
      )
    if not len(x) or not np.isfinite(x).all():
      raise InputError(
        "a waveform that is empty, NaN or infinite: nothing to transform"
      )
    x = np.array(x, np.float32)
    y = np.asarray(self.apply(x, self.draw(rng, len(x))), np.float32)
    if y.shape != x.shape:
      raise InputError(f"{self.name} returned shape {y.shape}: it must keep {x.shape}")
    if not np.isfinite(y).all():
      raise InputError(f"{self.name} returned NaN or infinite samples")
    return y


def no_draws(rng: Any, samples: int) -> Draws:
  """(): for transforms without randomness."""
  del rng, samples
  return ()


def rng_of(seed: int, clip_id: int | str, name: str) -> np.random.Generator:
  """The random numbers of one transform of one clip, wherever and whatever is run."""
  words = hashlib.sha256(f"{seed}\0{clip_id}\0{name}".encode()).digest()
  return np.random.default_rng(np.frombuffer(words, np.uint32))


def chain(*transforms: Transform, name: str = "") -> Transform:
  """The transforms one after another, as one. name: "" joins theirs with " + "."""
  if not transforms:
    raise InputError("an empty chain of transforms: give at least one")
  return Transform(
    name or " + ".join(link.name for link in transforms),
    partial(draw_links, links=transforms),
    partial(apply_links, links=transforms),
  )


def draw_links(rng: np.random.Generator, samples: int, links: tuple[Transform, ...]):
  """The draws of each link, from one generator in turn."""
  return tuple(link.draw(rng, samples) for link in links)


def apply_links(x: np.ndarray, draws: Draws, links: tuple[Transform, ...]):
  """x through each link in turn. [samples] -> [samples]."""
  for link, drawn in zip(links, draws, strict=True):
    x = link.apply(x, drawn)
  return x


def require(holds: bool, name: str, value: Any, expected: str) -> None:
  """InputError unless it holds: "bits is 0: give 1 to 24"."""
  if not holds:
    raise InputError(f"{name} is {value!r}: give {expected}")
