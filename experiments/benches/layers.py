"""What a backward pass costs against the forward pass, for each layer and network.

Forward; forward and the gradient of the input; the same inside `lax.fori_loop`; forward
and the gradient of the weights.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benches.timing import Measured, bars, interleaved, machine
from jaxadv.errors import InputError
from jaxadv.models import FRONTENDS, MODELS
from jaxadv.models.blocks import Conv, max_pool
from jaxadv.models.dense import excite
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.models.gru import GRU
from jaxadv.report.tables import Table

_LOOP_STEPS = 3


def run(settings: Mapping[str, Any]) -> Measured:
  """One row per layer and network. InputError where `only` names none."""
  cases = layers(settings["width"]) + networks(settings["width"])
  if settings["only"]:
    cases = [case for case in cases if settings["only"] in case.name]
    if not cases:
      raise InputError(f"only is {settings['only']!r}: no layer's name has it")
  rows = [row(case, settings) for case in cases]
  table = Table(
    f"Cost of a layer, {settings['batch']} examples, width {settings['width']:g}",
    ("layer", "input", "forward ms", "+ input gradient", "in a loop", "+ weights'"),
    rows,
    f"times the forward pass in brackets; {machine()}; "
    f"medians of {settings['repeats']}, interleaved",
  )
  ratios = {r[0]: float(r[3].split("(")[1].rstrip(")")) for r in rows}
  axis = "forward and input gradient, times the forward pass"
  return Measured(table, bars(ratios, axis, goal=2.0))


class Case(NamedTuple):
  """A layer, and the shape of one example that it is timed on."""

  name: str
  layer: nn.Module
  shape: tuple[int, ...]


class _Function(nn.Module):
  """A function as a module; inside it, modules may be made."""

  function: Callable[[Any], Any]

  @nn.compact
  def __call__(self, x):
    return self.function(x)


def layers(width: float) -> list[Case]:
  """Each kind of layer at shapes that the networks have."""

  def n(channels):
    return max(1, round(channels * width))

  wav, column = (1, CHUNK_SAMPLES), (1, 3)
  cases = [
    ("conv 3x3, 1 channel in", Conv(n(64)), (128, 64, 1)),
    ("conv 3x3, large", Conv(n(64)), (128, 64, n(64))),
    ("conv 3x3, middle", Conv(n(256)), (32, 16, n(256))),
    ("conv 3x3, small", Conv(n(512)), (8, 4, n(512))),
    ("conv 3x3, one column", Conv(n(512)), (8, 1, n(512))),
    ("conv 1x1, large", Conv(n(16), (1, 1)), (512, 64, n(16))),
    ("conv 1x1, middle", Conv(n(128), (1, 1)), (64, 8, n(256))),
    ("conv 1-D, 1 channel in", Conv(n(16), column), (*wav, 1)),
    ("conv 1-D, large", Conv(n(16), column), (*wav, n(16))),
    ("conv 1-D, middle", Conv(n(128), column), (1, 1024, n(128))),
    ("batch norm", nn.BatchNorm(use_running_average=True), (128, 64, n(64))),
    ("max pool 2x2", _Function(max_pool), (128, 64, n(64))),
    ("max pool 2x2, odd", _Function(partial(max_pool, same=True)), (125, 63, n(64))),
    ("max pool 1x4", _Function(partial(max_pool, window=(1, 4))), (*wav, n(32))),
    ("gate", _Function(nn.glu), (128, 64, n(128))),
    ("excitation, 2-D", _Function(excite), (512, 64, n(16))),
    ("excitation, 1-D", _Function(excite), (*wav, n(16))),
    ("GRU", GRU(n(512)), (4, n(512))),
    ("GRU, 32 steps", GRU(n(512)), (32, n(512))),
    ("log_mel_attack", _Function(jax.vmap(FRONTENDS["log_mel_attack"])), wav[1:]),
    ("kapre_mel", _Function(jax.vmap(FRONTENDS["kapre_mel"])), wav[1:]),
  ]
  return [Case(*case) for case in cases]


def networks(width: float) -> list[Case]:
  """Every network on one chunk, or its samples; batch norm as in evaluation."""
  shape = {"spectrogram": (128, 64), "waveform": (CHUNK_SAMPLES,)}
  return [
    Case(f"network {name}", make(41, width), shape[make.takes])
    for name, make in MODELS.items()
  ]


def row(case: Case, settings) -> tuple[str, ...]:
  """Name, shape, and the cells of the four times."""
  rng = np.random.default_rng(settings["seed"])
  x = rng.normal(0, 0.1, (settings["batch"], *case.shape)).astype(np.float32)
  x = jnp.asarray(x)
  variables = jax.jit(case.layer.init)(jax.random.key(settings["seed"]), x)
  params = variables.get("params", {})

  def forward(x, params):
    return cast(jax.Array, case.layer.apply({**variables, "params": params}, x))

  def backward(x, params, of):
    # pulls back the output itself: it depends on x, so a loop cannot do it once
    out, pull = jax.vjp(forward, x, params)
    return out, pull(out)[of]

  def loop(x, params):
    def step(_, x):
      return x - 1e-3 * backward(x, params, 0)[1]

    return jax.lax.fori_loop(0, _LOOP_STEPS, step, x)

  functions = {
    "forward": forward,
    "input": partial(backward, of=0),
    "loop": loop,
  }
  if params:
    functions["weights"] = partial(backward, of=1)
  timed = {name: _call(function, x, params) for name, function in functions.items()}
  seconds = interleaved(timed, settings["repeats"])
  seconds["loop"] /= _LOOP_STEPS
  ahead = seconds.pop("forward")
  cells = [f"{1e3 * some:.2f} ({some / ahead:.1f})" for some in seconds.values()]
  cells += [""] * (3 - len(cells))
  return case.name, "x".join(map(str, case.shape)), f"{1e3 * ahead:.2f}", *cells


def _call(function, *arguments):
  compiled = jax.jit(function)
  return lambda: compiled(*arguments)
