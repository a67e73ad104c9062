"""What an attack runs in place of what was trained: leaner, and as precise as asked."""

from typing import Any

import jax.numpy as jnp

from jaxadv.errors import InputError
from jaxadv.models import folding
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.victim import Victim

# precision of a config -> jax's, of what is left in float32
MATMUL = {"highest": "highest", "default": "default", "bfloat16": "highest"}


def inference(victim: Victim, precision: str) -> Any:
  """What an attack gives to `victim.logits` in place of what was trained and is judged:
  batch norms folded, and in the `precision` of a config.

  "highest": float32 everywhere; "default": products as the device has them, float32 on
  CPU, TF32 or bfloat16 on accelerators; "bfloat16": the network's convolutions but the
  first, all else as in "highest" (`folding.to_bfloat16`). Compile under jax's matmul
  precision MATMUL[precision]. A user's function is run as it is; InputError where it
  should compute in bfloat16.
  """
  variables = victim.variables
  if victim.model is not None:
    clip = jnp.zeros(CHUNK_SAMPLES, jnp.float32)
    variables = folding.fold(victim.model, variables, clip)
  if precision != "bfloat16":
    return variables
  if victim.model is None:
    raise InputError(
      f"precision is 'bfloat16', and victim {victim.name!r} is a function of your own: "
      "give 'default' or 'highest', and cast inside it"
    )
  return folding.to_bfloat16(variables)
