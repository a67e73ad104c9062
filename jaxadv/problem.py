"""From a victim and a threat to the Problem of one example and one step."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core import Bind, Example, Problem
from jaxadv.errors import InputError
from jaxadv.losses import Objective
from jaxadv.norms import L2, Norm, unlimited

Array = jax.Array


def _absolute(norm, amount, example):
  # no budget stays a float: projections then know that there is no ball
  return amount if unlimited(amount) else jnp.float32(amount)


def _relative(norm, amount, example):
  return amount * norm.size(example.x * example.mask)


def _snr_db(norm, amount, example):
  return norm.within_l2(L2.size(example.x) * amount, example.mask)


BUDGETS = {"absolute": _absolute, "relative": _relative, "snr_db": _snr_db}


class Threat(NamedTuple):
  """What the attacker may do.

  norm, radius, budget: size(delta) <= radius ("absolute"), <= radius * size(x)
    ("relative"), or such that SNR = 10 log10(|x|^2 / |delta|^2) >= radius dB
    ("snr_db": the largest ball of the norm in which that is certain).
  box: the range of x + delta; x must be within it.
  amount: of the budget, `given`, where a program takes it as an argument; None: it is a
    constant of the program.
  """

  norm: Norm
  radius: float = float("inf")
  budget: str = "absolute"
  box: tuple[float, float] = (-1.0, 1.0)
  amount: Array | None = None

  @property
  def given(self) -> float:
    """The radius; of an SNR in dB the noise's share of the clip's l2 size."""
    return 10.0 ** (-self.radius / 20.0) if self.budget == "snr_db" else self.radius

  def radius_of(self, example: Example) -> Array | float:
    """The radius for one example, in the norm. Example -> []."""
    if self.budget not in BUDGETS:
      raise InputError(f"budget is {self.budget!r}: choose from {', '.join(BUDGETS)}")
    amount = self.given if self.amount is None else self.amount
    return BUDGETS[self.budget](self.norm, amount, example)


def bind(logits_fn: Callable, threat: Threat, objective: Objective) -> Bind:
  """params, key, example -> Problem. `logits_fn(params, x [...], *other) -> [K]`.

  other: what the example carries beside x. A random victim takes `bind_random`.
  """
  return bind_random(
    lambda params, key, x, *other: logits_fn(params, x, *other), threat, objective
  )


def bind_random(logits_fn: Callable, threat: Threat, objective: Objective) -> Bind:
  """As `bind`, of `logits_fn(params, key, x, *other) -> [K]`: another key a step."""

  def problem(params, key, example):
    def logits(delta):
      x = example.x + delta * example.mask
      said = logits_fn(params, key, x, *example.other)
      dtype = getattr(said, "dtype", jnp.float32)
      half = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
      return said.astype(jnp.float32) if half else said

    radius = threat.radius_of(example)
    return Problem(example, threat.norm, radius, threat.box, objective, logits)

  return problem


def bind_through(
  logits_fn: Callable,
  threat: Threat,
  objective: Objective,
  samples: Callable | Sequence[Callable],
  draws: int | Sequence[int] = 1,
) -> Bind:
  """As `bind`, of the victim behind random transforms: `expect` over draws of them.

  samples: key, x [samples], length [] -> [samples]; one, or a set of them; another key
  a step. The clip ends where the mask last is not 0: what follows is padding, which is
  not transformed, and which no transform may take for a part of the clip.
  """

  def problem(params, key, example):
    places = jnp.arange(len(example.mask))
    length = jnp.max(jnp.where(example.mask != 0, places + 1, 0))

    def through(sample):
      return lambda key, x: jnp.where(places < length, sample(key, x, length), x)

    passed = [through(one) for one in _listed(samples)]
    multilabel = jnp.ndim(example.label) > 0
    smoothed = expect(logits_fn, passed, draws, multilabel)
    bound = bind_random(smoothed, threat, objective)
    return bound(params, key, example)

  return problem


def _listed(one_or_many: Any) -> list:
  return list(one_or_many) if isinstance(one_or_many, Sequence) else [one_or_many]


def expect(
  logits_fn: Callable,
  samples: Callable | Sequence[Callable],
  draws: int | Sequence[int] = 8,
  multilabel: bool = False,
) -> Callable:
  """Expectation over random transforms, for `bind_random`: log E[softmax(logits)].

  samples: key, x [...] -> transformed x, differentiable; one, or a set of them, which
  count alike. draws: forward passes in each of them, or a number for every one.
  multilabel: classes are sigmoids, as with sets of labels: the log-odds of E[sigmoid].
  The logits are those of the smoothed victim, so every attack works on them, and their
  cross-entropy is the loss of Salman et al., Provably Robust Deep Learning via
  Adversarially Trained Smoothed Classifiers, NeurIPS 2019. Of an untargeted
  attack their gradient is that of the draws which still hear the label; the mean of
  log-probabilities, the expectation over transforms of Athalye et al., Synthesizing
  Robust Adversarial Examples, ICML 2018, section 2.1, which they aim at a target with,
  would be that of the draws which no longer do.
  """
  members = _listed(samples)
  counts = _listed(draws) if isinstance(draws, Sequence) else [draws] * len(members)
  ends = list(itertools.accumulate(counts))
  shares = np.repeat([1 / (len(members) * count) for count in counts], counts)

  def logits(params, key, x, *other):
    keys = jax.random.split(key, ends[-1])
    heard = [
      jax.vmap(sample, (0, None))(keys[end - count : end], x)
      for sample, count, end in zip(members, counts, ends, strict=True)
    ]

    each = jax.vmap(lambda x: logits_fn(params, x, *other))(jnp.concatenate(heard))

    def log_mean(log_probabilities):
      return jax.nn.logsumexp(log_probabilities, axis=0, b=shares[:, None])

    if multilabel:
      return log_mean(jax.nn.log_sigmoid(each)) - log_mean(jax.nn.log_sigmoid(-each))
    return log_mean(jax.nn.log_softmax(each))

  return logits


def straight_through(logits_fn: Callable, transform: Callable) -> Callable:
  """logits(transform(x)), with the transform's gradient taken to be the identity.

  transform: x [...] -> [...], a quantiser say, whose own gradient is 0 or missing.
  BPDA: Athalye et al., Obfuscated Gradients Give a False Sense of Security, ICML 2018,
  section 4.1.
  """

  def logits(params, x, *other):
    heard = transform(jax.lax.stop_gradient(x))
    # x - x has the identity's gradient and adds nothing, not even rounding
    heard = jax.lax.stop_gradient(heard) + (x - jax.lax.stop_gradient(x))
    return logits_fn(params, heard, *other)

  return logits


def add_noise(snr_db: float) -> Callable:
  """sample for `expect`: white Gaussian noise at this SNR. key, x [...] -> [...]."""

  def sample(key, x, length=None):
    noise = jax.random.normal(key, x.shape)
    if length is not None:
      noise *= jnp.arange(len(x)) < length
    scale = L2.size(x) / L2.size(noise) * 10.0 ** (-snr_db / 20.0)
    return x + jax.lax.stop_gradient(scale) * noise

  return sample


def vary_gain(range_db: float) -> Callable:
  """sample for `expect`: a gain uniform in +-range_db. key, x [...] -> [...]."""

  def sample(key, x, length=None):
    del length
    gain_db = jax.random.uniform(key, minval=-range_db, maxval=range_db)
    return x * 10.0 ** (gain_db / 20.0)

  return sample


def quantise(bits: int) -> Callable:
  """transform for `straight_through`: x in [-1, 1] to signed integers and back."""
  levels = 2.0 ** (bits - 1)
  return lambda x: jnp.clip(jnp.round(x * levels), -levels, levels - 1) / levels


def from_probabilities(
  probabilities_fn: Callable, multilabel: bool = False
) -> Callable:
  """logits_fn of a victim that says probabilities: their logs (log-odds: multilabel).

  probabilities_fn: (params, x, *other) -> [K] in [0, 1]. softmax (sigmoid) of the
  result is the victim's answer, so that every loss means what it says. Taken for
  logits, probabilities lie within 1 of each other and hide the gradient.
  """

  def logits(params, x, *other):
    tiny = jnp.finfo(jnp.float32).tiny
    probabilities = probabilities_fn(params, x, *other)
    log = jnp.log(jnp.maximum(probabilities, tiny))
    if multilabel:
      log -= jnp.log(jnp.maximum(1.0 - probabilities, tiny))
    return log

  return logits
