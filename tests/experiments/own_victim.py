"""Victims that are not ours: a plain function, and a Flax module with its file."""

import itertools
import os

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxadv import victim

CLASSES = ("high", "low", "middle")
EDGES_HZ = (0, 400, 3500, 16000)


def band_levels(x):
  """Decibels of the power below 400 Hz, up to 3500 Hz, and above. [n] -> [3]."""
  power = jnp.abs(jnp.fft.rfft(x)) ** 2
  hz = jnp.linspace(0, 16000, power.shape[0])
  bands = [
    jnp.where((hz >= low) & (hz < high), power, 0).sum()
    for low, high in itertools.pairwise(EDGES_HZ)
  ]
  return 10 * jnp.log10(jnp.stack(bands) + 1e-3)


class Loudest(nn.Module):
  """A dense layer on the levels of a batch: [B, samples] -> [B, 3]."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(len(CLASSES))(jax.vmap(band_levels)(x))


def weights():
  """The loudest band names the class: high is the third of them."""
  return 0.2 * jnp.eye(len(CLASSES))[jnp.array([1, 2, 0])]


def function() -> victim.Victim:
  return victim.of_function(
    "loudest", lambda w, x: band_levels(x) @ w, weights(), CLASSES
  )


def silent_on_long_clips() -> victim.Victim:
  """As `function`, but it says NaN of what goes on after 1.6 s."""

  def logits(weights, x):
    return band_levels(x) @ weights + jnp.where(x[51200:].any(), jnp.nan, 0.0)

  return victim.of_function("silent", logits, weights(), CLASSES)


def module() -> victim.Victim:
  return victim.of_flax("loudest", Loudest(), os.environ["WEIGHTS"], CLASSES)


def two_logits() -> victim.Victim:
  return victim.of_function("two", lambda w, x: band_levels(x)[:2], weights(), CLASSES)


def _broken(says) -> victim.Victim:
  """As `function`, but defended in a way that only fools those who attack it."""
  return victim.of_function("broken", says, weights(), CLASSES)


def rounding() -> victim.Victim:
  return _broken(lambda w, x: band_levels(jnp.round(x * 64) / 64) @ w)


def gradient_stopped() -> victim.Victim:
  return _broken(lambda w, x: band_levels(jax.lax.stop_gradient(x)) @ w)


def probabilities() -> victim.Victim:
  return _broken(lambda w, x: jax.nn.softmax(band_levels(x) @ w))


def saturated() -> victim.Victim:
  return _broken(lambda w, x: 1e4 * band_levels(x) @ w)


def raises() -> victim.Victim:
  return victim.of_function("bad", lambda w, x: x @ w, weights(), CLASSES)


def not_a_victim():
  return weights()


def needs(argument):
  return argument
