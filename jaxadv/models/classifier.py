"""Frontend, scaler, network: a waveform to the logits of its clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array


class Classifier(nn.Module):
  """A victim: one clip, [samples] -> logits [classes].

  frontend: [samples] -> features [chunks, frames, bands].
  network: features [B, frames, bands], train -> logits [B, classes].

  Features are standardised by the training set's mean and deviation (collection
  "scaler"). A clip's probabilities are the mean over its chunks of the softmax; its
  logits are the log of that, so that their softmax is exactly the clip's probability
  and, for one chunk, their differences are the network's own. Subramanian et al., 2019
  (arithmetic mean over chunks).
  """

  frontend: Callable[[Array], Array]
  network: nn.Module

  def setup(self):
    self.mean = self.variable("scaler", "mean", lambda: jnp.float32(0.0))
    self.deviation = self.variable("scaler", "deviation", lambda: jnp.float32(1.0))

  def __call__(self, x: Array) -> Array:
    log_probs = nn.log_softmax(self.chunk_logits(self.frontend(x)))
    return nn.logsumexp(log_probs, axis=0) - jnp.log(log_probs.shape[0])

  def chunk_logits(self, features: Array, train: bool = False) -> Array:
    """[B, frames, bands] -> [B, classes]."""
    standard = (features - self.mean.value) / (self.deviation.value + 1e-6)
    return self.network(standard, train)
