"""Every network against its layers in torch: outputs, logits, gradients, parameters.

`pytest -s tests/models/test_parity_torch.py` prints the largest error of each kind of
layer.
"""

import functools
import math

import drawn
import in_torch
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxadv.models import MODELS
from jaxadv.models.blocks import max_pool

CLASSES = 5
# odd sizes, so that pools round up: 37 frames of 128; 9001, 2251, 563, ... samples
CASES = {
  "vgg13": (1 / 16, (2, 128, 64)),
  "crnn": (1 / 16, (2, 128, 64)),
  "gcnn": (1 / 32, (2, 128, 64)),
  "dense_mel": (1 / 8, (2, 37 * 128)),
  "dense_wav": (1 / 8, (2, 9001)),
}
networks = pytest.mark.parametrize("name", CASES)
ERRORS: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def table_of_errors():
  yield
  print("\nlargest error against float64 torch")
  for kind, error in sorted(ERRORS.items()):
    print(f"  {kind:28} {error:.1e}")


def note(kind, error):
  ERRORS[kind] = max(ERRORS.get(kind, 0.0), float(error))


@functools.cache
def heard(name):
  """Logits, layers' outputs and the gradient of a weighted sum: ours, then torch's."""
  width, shape = CASES[name]
  network = MODELS[name](CLASSES, width)
  rng = np.random.default_rng(1)
  x = rng.normal(0, 0.3 if "dense" in name else 1, shape).astype(np.float32)
  weights = rng.normal(size=(shape[0], CLASSES)).astype(np.float32)
  variables = drawn.variables(network, x)

  def ours(x):
    logits, kept = network.apply(variables, x, capture_intermediates=True, mutable=True)
    return (weights * logits).sum(), (logits, kept["intermediates"])

  gradient, (logits, kept) = jax.jit(jax.grad(ours, has_aux=True))(x)
  y = torch.tensor(np.float64(x), requires_grad=True)
  layers = in_torch.Layers(variables)
  expected = in_torch.NETWORKS[name](layers, y)
  (torch.tensor(np.float64(weights)) * expected).sum().backward()
  ours_of = (np.float64(logits), kept, np.float64(gradient))
  return ours_of, (expected.detach().numpy(), layers.outputs, y.grad.numpy())


@networks
def test_layer_by_layer(name):
  (_, kept, _), (_, outputs, _) = heard(name)
  assert len(outputs) >= 20
  for kind, path, expected in outputs:
    found = functools.reduce(lambda tree, part: tree[part], path, kept)
    found = np.float64(found["__call__"][0])
    expected = expected.detach().numpy().reshape(found.shape)
    size = max(1.0, np.abs(expected).max())
    error = np.abs(found - expected).max() / size
    note(kind, error)
    assert error < 1e-4, f"{name}: {'/'.join(path)} ({kind}) differs by {error:.1e}"


@networks
def test_logits(name):
  (found, _, _), (expected, _, _) = heard(name)
  assert np.ptp(expected) > 0.05
  assert np.abs(expected[0] - expected[1]).max() > 1e-2
  note(f"logits of {name}", np.abs(found - expected).max())
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@networks
def test_gradient_of_the_input(name):
  (_, _, found), (_, _, expected) = heard(name)
  error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
  note(f"gradient of {name}", error)
  assert error < 1e-3


@pytest.mark.parametrize("window", [(2, 2), (1, 4), (3, 2)])
@pytest.mark.parametrize("h, w", [(6, 8), (5, 7), (1, 9), (2, 1), (3, 10)])
def test_pools_that_round_up(window, h, w):
  rng = np.random.default_rng(h * 10 + w)
  x = rng.normal(size=(2, h, w, 3)).astype(np.float32)
  y = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
  out, pull = jax.vjp(lambda x: max_pool(x, window, same=True), x)
  expected = in_torch.same_pool(y, window)
  g = rng.normal(size=out.shape).astype(np.float32)
  expected.backward(torch.tensor(g).permute(0, 3, 1, 2))
  assert out.shape[1:3] == (-(-h // window[0]), -(-w // window[1]))
  note("max pool", np.abs(out - expected.detach().permute(0, 2, 3, 1).numpy()).max())
  np.testing.assert_array_equal(out, expected.detach().permute(0, 2, 3, 1))
  np.testing.assert_array_equal(pull(g)[0], y.grad.permute(0, 2, 3, 1))


def vgg_parameters(convolved: int) -> int:
  """convolved: filters for each channel that a convolution puts out."""
  count, before = 0, 1
  for channels in in_torch.VGG_CHANNELS:
    for _ in range(2):
      count += (9 * before + 1) * channels * convolved + 2 * channels
      before = channels
  return count


def dense_parameters(taps: int, norms_before: int) -> int:
  count, channels = norms_before + (taps + 1) * 15, 16
  for f in in_torch.DENSE_CHANNELS:
    count += 2 * channels + (channels + 1) * f + 2 * f + (taps * f + 1) * f
    count += (f + 1) * (f // 2) + (f // 2 + 1) * f
    channels += f
  return count + 2 * channels + 8 * (channels + 1) * 41


COUNTS = {  # trainable; with the running statistics where SPEC's count has them
  "vgg13": (vgg_parameters(1) + 513 * 41, 9_430_761, 9_436_649),
  "crnn": (
    vgg_parameters(1) + 2 * 3 * (512 + 512 + 1) * 512 + 1025 * 41,
    12_600_553,
    12_606_441,
  ),
  "gcnn": (vgg_parameters(2) + 513 * 41, 18_834_601, 18_840_489),
  "dense_mel": (dense_parameters(9, 2 + 128), 11_092_200, None),
  "dense_wav": (dense_parameters(3, 2), 5_849_614, None),
}


@networks
def test_parameters_of_the_original(name):
  counted, trainable, total = COUNTS[name]
  x = jnp.zeros((1, *CASES[name][1][1:]))
  shapes = jax.eval_shape(MODELS[name](41).init, jax.random.key(0), x)
  found = {
    kind: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
    for kind, tree in shapes.items()
  }
  assert found["params"] == counted == trainable
  assert total in (None, found["params"] + found["batch_stats"])
