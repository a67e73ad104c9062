"""What every network must do, with every frontend that it takes."""

import functools

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import build
from jaxadv.errors import InputError
from jaxadv.models import FRONTENDS, MODELS, WAVEFORMS, Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES

CLASSES = 5
# the frontend that each network is run through here; every frontend comes up
RUN = {
  "vgg13": "log_mel_attack",
  "crnn": "log_mel_train",
  "gcnn": "log_mel_attack",
  "dense_mel": "waveform",
  "dense_wav": "waveform_peak",
  "dense_spectral": "kapre_mel",
}
networks = pytest.mark.parametrize("name", MODELS)
pairs = pytest.mark.parametrize(
  "name, frontend", [(name, frontend) for name in MODELS for frontend in FRONTENDS]
)


def config(name, frontend):
  return {
    "network": name,
    "frontend": frontend,
    # narrower dense networks, with random weights, say the same of everything
    "width": 1 / 8 if name.startswith("dense") else 1 / 32,
    "bn_momentum": 0.9,
    "options": {},
  }


def fits(name, frontend):
  return (frontend in WAVEFORMS) == (MODELS[name].takes == "waveform")


def features(name, batch: int):
  """What the network might be given, short. [B, 64, 64] in dB, or [B, 4096]."""
  rng = np.random.default_rng(0)
  if MODELS[name].takes == "waveform":
    return rng.normal(0, 0.1, (batch, 4096)).astype(np.float32)
  return rng.normal(0, 1, (batch, 64, 64)).astype(np.float32)


@functools.cache
def model(name):
  return build.classifier(config(name, RUN[name]), CLASSES)


@functools.cache
def network_variables(name):
  return drawn.variables(model(name).network, features(name, 1))


@functools.cache
def classify(name):
  """clip -> logits, gradient of the first."""
  held = {kind: {"network": tree} for kind, tree in network_variables(name).items()}
  held["scaler"] = {"mean": jnp.float32(0), "deviation": jnp.float32(1)}
  if name not in ("dense_mel", "dense_wav"):
    held["scaler"] = {"mean": jnp.float32(-40), "deviation": jnp.float32(17)}

  def first(x):
    logits = model(name).apply(held, x)
    return logits[0], logits

  def both(x):
    (_, logits), gradient = jax.value_and_grad(first, has_aux=True)(x)
    return logits, gradient

  return jax.jit(both)


def test_everything_comes_up():
  assert set(RUN) == set(MODELS) and set(RUN.values()) == set(FRONTENDS)
  assert all(fits(*pair) for pair in RUN.items())


@pairs
def test_shapes_or_refusal(name, frontend):
  if not fits(name, frontend):
    with pytest.raises(InputError, match=rf"'{frontend}', and {name} takes a"):
      build.classifier(config(name, frontend), CLASSES)
    return
  whole = build.classifier(config(name, frontend), CLASSES)
  assert isinstance(whole, Classifier)
  for chunks in (1, 3):
    x = jax.ShapeDtypeStruct((chunks * CHUNK_SAMPLES,), jnp.float32)
    logits, _ = jax.eval_shape(whole.init_with_output, jax.random.key(0), x)
    assert logits.shape == (CLASSES,) and logits.dtype == jnp.float32


CLIPS = {
  "silence": np.zeros(CHUNK_SAMPLES, np.float32),
  "noise": np.random.default_rng(0).normal(0, 0.1, CHUNK_SAMPLES).astype(np.float32),
}


@networks
def test_finite_on_silence_and_noise(name):
  logits = {}
  for kind, clip in CLIPS.items():
    logits[kind], gradient = classify(name)(clip)
    assert np.isfinite(logits[kind]).all() and np.isfinite(gradient).all()
    # already log probabilities: their softmax changes nothing
    assert np.exp(logits[kind]).sum() == pytest.approx(1, abs=1e-5)
    if kind == "noise":
      # it reaches from the first tenth of a second to the last
      assert np.abs(gradient[:3200]).max() > 0 < np.abs(gradient[-3200:]).max()
  assert np.abs(logits["silence"] - logits["noise"]).max() > 1e-3


@networks
def test_training_and_evaluation(name):
  network, held, x = model(name).network, network_variables(name), features(name, 3)
  x[0, :32] *= 3

  @functools.partial(jax.jit, static_argnames="train")
  def apply(x, train):
    return network.apply(held, x, train, mutable=["batch_stats"])

  logits, kept = apply(x, train=False)
  unchanged = jax.tree.map(np.array_equal, kept["batch_stats"], held["batch_stats"])
  assert all(jax.tree.leaves(unchanged))
  other = x.copy()
  other[1:] *= 2
  beside, _ = apply(other, train=False)
  np.testing.assert_allclose(beside[0], logits[0], atol=1e-5)
  assert np.abs(beside[1] - logits[1]).max() > 1e-4

  trained, kept = apply(x, train=True)
  changed = jax.tree.map(np.array_equal, kept["batch_stats"], held["batch_stats"])
  assert not any(jax.tree.leaves(changed))
  assert np.abs(trained - logits).max() > 1e-3
  # in training an example does hear the rest of its batch
  assert np.abs(apply(other, train=True)[0][0] - trained[0]).max() > 1e-4
