"""What a victim says of stored examples: in float32 at the highest matmul precision."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

Tag = TypeVar("Tag")
NO_ANSWER = "the victim says NaN or infinity"


def softmax(logits: np.ndarray) -> np.ndarray:
  """[..., classes] -> probabilities, float64; NaN where the victim has no answer."""
  said = logits.astype(np.float64)
  with np.errstate(invalid="ignore"):
    powers = np.exp(said - said.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


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


def probabilities(
  logits_fn: Callable,
  params: Any,
  tagged: Iterable[tuple[Tag, np.ndarray]],
  samples: int,
) -> Iterator[tuple[Tag, np.ndarray]]:
  """As `answers`, of a victim that is compiled for these waveforms alone."""
  return answers(judge(logits_fn), params, tagged, samples)


def answers(
  logits: Callable[[Any, np.ndarray], np.ndarray],
  params: Any,
  tagged: Iterable[tuple[Tag, np.ndarray]],
  samples: int,
) -> Iterator[tuple[Tag, np.ndarray]]:
  """Yields (tag, probabilities float64 [classes]) of every waveform, as judged.

  All of them NaN where the victim has no answer (NO_ANSWER).

  logits: of `judge`. tagged: (anything, x [n]) of any lengths, read as they are needed.
  About `samples` samples are judged at once, always as many clips of a length, so that
  each length is compiled once; clips of one length keep their order.
  """
  waiting: dict[int, list[tuple[Tag, np.ndarray]]] = {}

  def judged(some: list[tuple[Tag, np.ndarray]]) -> Iterator[tuple[Tag, np.ndarray]]:
    xs = [x for _, x in some]
    size = max(1, samples // len(xs[0]))
    padded = np.stack(xs + [np.zeros_like(xs[0])] * (size - len(xs)))
    tags = [tag for tag, _ in some]
    return zip(tags, softmax(logits(params, padded)[: len(xs)]), strict=True)

  for tag, x in tagged:
    some = waiting.setdefault(len(x), [])
    some.append((tag, x))
    if len(some) >= max(1, samples // len(x)):
      yield from judged(waiting.pop(len(x)))
  for some in waiting.values():
    yield from judged(some)
