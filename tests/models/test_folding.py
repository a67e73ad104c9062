"""A folded network says the same with fewer operations, in bfloat16 nearly the same."""

import functools
from typing import NamedTuple

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxadv.entries import CONFIDENCE
from jaxadv.models import MODELS, dense, gcnn, vgg
from jaxadv.models.folding import fold, to_bfloat16

CLASSES = 5
PRODUCTS_OF = ("conv_general_dilated", "dot_general")
# multiplications over [B, H, W, C] in a forward pass, but for the first convolution,
# which is a sum of such, one for each of its taps: as trained, folded
PRODUCTS = {
  "vgg13": (4, 0),
  "crnn": (4, 0),
  "gcnn": (8, 4),  # its gates
  # 3 gates of channels, 3 norms in front of a block and one behind the last
  "dense_mel": (10, 7),
  "dense_wav": (10, 7),
}
networks = pytest.mark.parametrize("name", PRODUCTS)


@pytest.fixture(scope="module", autouse=True)
def _shallow():
  """Two blocks of VGG13 and three of the dense networks: the others are the same."""
  with pytest.MonkeyPatch.context() as patched:
    for module in (vgg, gcnn):
      patched.setattr(module, "CHANNELS", (64, 128))
    patched.setattr(dense, "CHANNELS", (16, 32, 64))
    yield


def test_all_networks_come_up():
  assert {*PRODUCTS, "dense_spectral"} == set(MODELS)  # which is in dense_mel


def inputs(name, seed: int = 1):
  """Two of what the network takes: noise that falls silent halfway, and silence."""
  x = np.zeros((2, 2048), np.float32)
  x[0, :1024] = np.random.default_rng(seed).normal(0, 0.1, 1024)
  return (
    x if MODELS[name].takes == "waveform" else 10 * x[:, 960:1088].reshape(2, 16, 8)
  )


class Forms(NamedTuple):
  """A network, and the same variables as trained, folded, and in bfloat16."""

  network: object
  trained: dict
  folded: dict
  coarse: dict


@functools.cache
def forms(name) -> Forms:
  network = MODELS[name](CLASSES, 1 / 8 if name.startswith("dense") else 1 / 32)
  trained = drawn.variables(network, inputs(name))
  rng = np.random.default_rng(2)
  for path, leaf in traverse_util.flatten_dict(trained["params"]).items():
    if path[-1] == "scale":  # no sign may be taken for granted
      leaf[...] *= rng.choice([-1, 0, 1], leaf.shape, p=[0.4, 0.1, 0.5])
  folded = fold(network, trained, inputs(name))
  return Forms(network, trained, folded, to_bfloat16(folded))


@functools.cache
def answer(name):
  """variables, x -> logits, gradient of the first of each."""

  def both(variables, x):
    logits, pull = jax.vjp(lambda x: forms(name).network.apply(variables, x), x)
    return logits, *pull(jnp.zeros_like(logits).at[:, 0].set(1))

  return jax.jit(both)


@networks
def test_a_folded_network_says_the_same(name):
  _, trained, folded, _ = forms(name)
  logits, gradient = answer(name)(trained, inputs(name))
  lean_logits, lean_gradient = answer(name)(folded, inputs(name))
  np.testing.assert_allclose(lean_logits, logits, atol=1e-4, rtol=0)
  # no lead of a class over another moves by what attacks allow for
  assert np.ptp(lean_logits - logits, axis=-1).max() < CONFIDENCE["default"]
  size = np.linalg.norm(gradient[0])
  assert np.linalg.norm(lean_gradient[0] - gradient[0]) < 1e-3 * size > 0
  if name != "dense_mel":  # of silence, kapre's mel has the FFT's rounding for gradient
    silent = np.linalg.norm(lean_gradient[1] - gradient[1])
    assert silent <= 1e-3 * np.linalg.norm(gradient[1])
  # not because everything is one
  assert np.abs(logits[0] - logits[1]).max() > 1e-3


@networks
def test_no_statistics_are_left_and_the_shapes_stay(name):
  _, trained, folded, _ = forms(name)
  assert set(trained) - set(folded) == {"batch_stats"}
  shapes = [jax.tree.map(np.shape, tree["params"]) for tree in (trained, folded)]
  assert shapes[0] == shapes[1]


def equations(jaxpr):
  """Of a jaxpr and of all that it calls."""
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
    ):
      if inner := getattr(value, "jaxpr", value if hasattr(value, "eqns") else None):
        yield from equations(inner)


def forward(name, variables):
  traced = jax.make_jaxpr(forms(name).network.apply)(variables, inputs(name))
  return list(equations(traced.jaxpr))


def products(passed):
  """The dtype of each multiplication over [B, H, W, C]."""
  found = [e.outvars[0].aval for e in passed if e.primitive.name == "mul"]
  return [to.dtype for to in found if len(to.shape) == 4 and to.shape[0] == 2]


@networks
def test_a_folded_network_has_fewer_operations(name):
  found = []
  for variables in forms(name)[1:3]:
    passed = forward(name, variables)
    roots = sum(e.primitive.name in ("rsqrt", "sqrt") for e in passed)
    taps = 3 if name == "dense_wav" else 9
    found.append((roots > 0, len(products(passed)) - taps))
  assert found == [(True, PRODUCTS[name][0]), (False, PRODUCTS[name][1])]


def convolutions(function, *given) -> int:
  """In the compiled program."""
  text = jax.jit(function).lower(*given).compile().as_text()
  return text.count(" convolution(") + text.count("onednn$convolution")


def test_a_gradient_holds_two_convolutions_a_layer():
  """One forward, one backward, and none for the kernels' gradients."""
  network, _, folded, _ = forms("vgg13")

  def loss(x, variables):
    return network.apply(variables, x).sum()

  layers = sum(
    e.primitive.name == "conv_general_dilated" for e in forward("vgg13", folded)
  )
  assert layers == 3  # the first, of one channel, is a sum of products
  given = inputs("vgg13"), folded
  assert convolutions(jax.value_and_grad(loss), *given) == 2 * layers
  # the count does see those of the kernels
  assert convolutions(jax.value_and_grad(loss, argnums=1), *given) > 2 * layers


@networks
def test_bfloat16_is_for_convolutions_but_the_first(name):
  coarse = forms(name).coarse
  passed = forward(name, coarse)
  kernels = [e for e in passed if e.primitive.name in PRODUCTS_OF]
  kinds = [e.invars[0].aval.dtype for e in kernels if e.invars[0].aval.ndim >= 3]
  assert all(e.invars[0].aval.dtype == e.invars[1].aval.dtype for e in kernels)
  # what hears the samples or the spectrogram comes first
  assert products(passed)[0] == jnp.float32 and jnp.bfloat16 in kinds
  by_place = traverse_util.flatten_dict(coarse["params"])
  cast = {at for at, leaf in by_place.items() if leaf.dtype == jnp.bfloat16}
  # whatever is not a kernel of several channels is as it was
  assert all("Conv" in at[-2] and at[-1] == "kernel" for at in cast)
  assert not any(at[-2] == "Conv_0" for at in cast)
  many = {at for at in by_place if "Conv" in at[-2] and by_place[at].ndim == 4}
  assert len(cast) == len({at for at in many if by_place[at].shape[2] > 1}) >= 3


def test_in_bfloat16_it_says_nearly_the_same():
  name = "vgg13"
  _, _, folded, coarse = forms(name)
  logits, gradient = answer(name)(folded, inputs(name))
  coarse_logits, coarse_gradient = answer(name)(coarse, inputs(name))
  assert coarse_logits.dtype == coarse_gradient.dtype == jnp.float32
  apart = np.abs(coarse_logits - logits).max() / np.ptp(logits)
  assert 0 < apart < 0.1
  cosine = np.vdot(gradient[0], coarse_gradient[0]) / (
    np.linalg.norm(gradient[0]) * np.linalg.norm(coarse_gradient[0])
  )
  assert cosine > 0.5


def test_a_pass_that_may_change_everything_folds_nothing():
  """As tests and users make it to look at layers: apply(..., mutable=True)."""
  network, trained, _, _ = forms("vgg13")
  _, kept = network.apply(trained, inputs("vgg13"), mutable=True)
  assert jax.tree.all(jax.tree.map(np.array_equal, kept["params"], trained["params"]))
