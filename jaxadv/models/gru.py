"""The gated recurrent unit in the variant of Keras 2.2."""

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
# a loop of so few steps costs more than its body written out
_UNROLLED_STEPS = 32


def hard_sigmoid(x: Array) -> Array:
  """0.2 x + 0.5, clipped to [0, 1]: Keras's (jax.nn's has another slope)."""
  return jnp.clip(0.2 * x + 0.5, 0, 1)


class GRU(nn.Module):
  """All states of a GRU that begins at 0: [B, time, I] -> [B, time, units].

  With the gates z, r = hard_sigmoid(x W + h U + b) and the candidate
  c = relu(x W_c + (r * h) U_c + b_c), the next state is z * h + (1 - z) * c: the reset
  gate comes before the recurrent product (Keras's reset_after=False), with one bias.
  The columns of `kernel`, `recurrent` and `bias` are z, r, c, as in Keras's files.
  Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014.
  """

  units: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    n, init = self.units, nn.initializers
    kernel = self.param("kernel", init.glorot_uniform(), (x.shape[-1], 3 * n))
    recurrent = self.param("recurrent", init.orthogonal(), (n, 3 * n))
    bias = self.param("bias", init.zeros, (3 * n,))

    def step(h, projected):
      gates = hard_sigmoid(projected[:, : 2 * n] + h @ recurrent[:, : 2 * n])
      z, r = gates[:, :n], gates[:, n:]
      c = nn.relu(projected[:, 2 * n :] + (r * h) @ recurrent[:, 2 * n :])
      h = z * h + (1 - z) * c
      return h, h

    # the products that need no state, for all times at once
    projected = jnp.swapaxes(x @ kernel + bias, 0, 1)
    begin = jnp.zeros((x.shape[0], n), projected.dtype)
    unroll = min(_UNROLLED_STEPS, len(projected))
    states = jax.lax.scan(step, begin, projected, unroll=unroll)[1]
    return jnp.swapaxes(states, 0, 1)
