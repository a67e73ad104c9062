"""The JAX twins against numpy's, their gradients against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from clips_by_hand import noise_clip, onset_clip, snr_db

from jaxadv.errors import InputError
from jaxadv.problem import expect
from jaxadv.transforms import (
  TRANSFORMS,
  aac,
  bit_depth,
  chain,
  flood,
  gain,
  low_pass,
  median,
  mp3,
  noise,
  resample,
  reverberate,
  smooth,
  time_shift,
  user,
)
from jaxadv.transforms.twins import through_host, twin

SMOOTH = {  # everywhere differentiable, so that finite differences are the truth
  "resample 8": resample(8000),
  "resample 16": resample(16000),
  "resample 20": resample(20000),
  "low_pass": low_pass(4000.0),
  "band_pass": TRANSFORMS["band_pass"](),
  "phone_band": TRANSFORMS["phone_band"](),
  "smooth": smooth(7),
  "noise 20": noise(20.0),
  "flood": flood(0.01),
  "gain": gain(-3.0, range_db=6.0),
  "time_shift": time_shift(0.0, range_s=0.02),
  "reverberate": reverberate(rt60_s=0.3),
  "reverberate rms": reverberate(rt60_s=0.3, level="rms"),
  "reverberate none": reverberate(rt60_s=0.3, level="none"),
  "live": reverberate(rt60_s=0.3, pink_noise_db=40.0),
  "median": median(5),
  "chain": chain(noise(40.0), resample(16000), gain(-6.0)),
}
STRAIGHT = {
  "bits": bit_depth(6),
  "mp3": mp3(48),
  "aac": aac(),
  "opus": TRANSFORMS["opus"](),
  "vorbis": TRANSFORMS["vorbis"](),
}
SAMPLES = 4001


def test_rates_that_hardly_ever_meet_leave_resampling_without_a_gradient():
  with pytest.raises(InputError, match="32000 and 31999 Hz have samples at the same"):
    twin(resample(31999))(jax.random.key(0), jnp.zeros(SAMPLES))


@functools.cache
def compiled(name):
  """x, draws, weights -> twin's y, gradient of <weights, y>. One compilation each."""
  apply = twin(SMOOTH[name]).apply

  def value(x, draws, weights):
    y = apply(x, draws)
    return jnp.vdot(weights, y), y

  both = jax.jit(jax.value_and_grad(value, has_aux=True))

  def run(x, draws, weights):
    (_, y), slope = both(x, draws, np.asarray(weights, np.float32))
    return np.asarray(y), np.asarray(slope, np.float64)

  return run


def draws_of(name):
  return SMOOTH[name].draw(np.random.default_rng(0), SAMPLES)


@pytest.mark.parametrize("name", SMOOTH)
def test_twin_is_the_reference(name):
  draws = draws_of(name)
  for x in (noise_clip(SAMPLES), onset_clip(SAMPLES)):
    x[-500:] = 0.1  # the end must not be a special case
    y, _ = compiled(name)(x, draws, np.zeros(SAMPLES))
    reference = SMOOTH[name].apply(x, draws)
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, reference, atol=2e-6 * np.abs(reference).max())


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_is_the_finite_difference(name):
  draws, x = draws_of(name), noise_clip(SAMPLES, seed=1)
  towards, weights = np.random.default_rng(2).normal(size=(2, SAMPLES))
  _, at_silence = compiled(name)(np.zeros_like(x), draws, weights)
  assert np.isfinite(at_silence).all()
  _, slope = compiled(name)(x, draws, weights)
  # half along the gradient, or the difference would be near 0
  towards += np.sqrt(SAMPLES) * slope / np.linalg.norm(slope)

  # of the reference: so it is the gradient of what is measured
  h = 1e-5 if name == "median" else 1e-4
  ahead, behind = (x + h * towards).astype("f"), (x - h * towards).astype("f")
  apply = SMOOTH[name].apply
  moved = apply(ahead, draws).astype(np.float64) - apply(behind, draws)
  step, difference = (ahead.astype(np.float64) - behind) / 2, weights @ moved / 2
  rough = 0.02 if name == "median" else 2e-3
  scale = np.linalg.norm(slope) * np.linalg.norm(step)
  assert slope @ step == pytest.approx(difference, abs=rough * scale)
  assert difference > 0.3 * scale


DEGREE = {"noise 20": 1, "reverberate": 0, "live": 0, "reverberate rms": 1}


@pytest.mark.parametrize("name", DEGREE)
def test_gradient_goes_through_what_depends_on_the_level(name):
  # homogeneous: y(c x) = c^degree y(x), so <dy/dx x, y> = degree |y|^2. Euler
  draws, x = draws_of(name), noise_clip(SAMPLES, seed=1)
  y = SMOOTH[name].apply(x, draws).astype(np.float64)
  _, slope = compiled(name)(x, draws, y)
  assert slope @ x == pytest.approx(DEGREE[name] * (y @ y), abs=2e-3 * (y @ y))


@pytest.mark.parametrize("name", STRAIGHT)
def test_straight_through_under_jit_vmap_and_grad(name):
  transform = STRAIGHT[name]
  apply = twin(transform).apply
  clips = np.stack([noise_clip(1600), onset_clip(1600), np.zeros(1600, np.float32)])
  weights = np.random.default_rng(0).normal(size=1600).astype(np.float32)

  def one(x):
    return jnp.vdot(weights, apply(x, ()) ** 2), apply(x, ())

  (_, heard), slope = jax.jit(jax.vmap(jax.value_and_grad(one, has_aux=True)))(clips)
  expected = np.stack([transform.apply(x, ()) for x in clips])
  np.testing.assert_allclose(heard, expected, atol=1e-7)
  assert not np.allclose(heard[:2], clips[:2], atol=1e-4)
  np.testing.assert_allclose(slope, 2 * weights * expected, rtol=1e-5, atol=1e-6)


DRAWN = ["noise 20", "flood", "gain", "time_shift", "live", "chain", "smooth"]


@pytest.mark.parametrize("name", DRAWN)
def test_draws_have_the_references_form_and_distribution(name):
  transform = SMOOTH[name]
  draw = twin(transform).draw
  drawn = jax.jit(draw, static_argnums=1)
  ours = [drawn(jax.random.key(i), 320) for i in range(300)]
  theirs = [transform.draw(np.random.default_rng(i), 320) for i in range(300)]
  assert jax.tree.structure(ours[0]) == jax.tree.structure(theirs[0])
  for a, b in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(theirs[0]), strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
  firsts = [
    [np.ravel(leaf)[0] for each in drawings for leaf in jax.tree.leaves(each)[:1]]
    for drawings in (ours, theirs)
  ]
  if firsts[0] and name != "chain":
    assert scipy.stats.ks_2samp(*firsts).pvalue > 1e-3
    assert len(set(map(float, firsts[0]))) > 100


def test_links_of_a_chain_draw_apart():
  first, second = twin(chain(noise(20.0), noise(20.0))).draw(jax.random.key(0), 100)
  assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.4


def test_a_twin_is_a_sample_for_expectation():
  x = noise_clip(1600)
  sample = twin(noise(20.0))
  heard = jax.jit(sample)(jax.random.key(0), x)
  assert snr_db(np.asarray(heard), x) == pytest.approx(20, abs=1e-2)
  logits = expect(lambda params, x: jnp.stack([jnp.mean(x), 0.0]), sample, draws=4)
  slope = jax.jit(jax.grad(lambda x: logits(None, jax.random.key(0), x)[0]))(x)
  assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_none_where_there_is_none():
  assert twin(user(np.negative)) is None
  assert twin(chain(gain(), user(np.negative))) is None
  for name in set(TRANSFORMS) - {"user"}:
    assert twin(TRANSFORMS[name]()) is not None, name


def test_any_function_through_the_host():
  apply = through_host(user(np.negative)).apply
  x = jnp.asarray(noise_clip(64))
  value, slope = jax.jit(jax.value_and_grad(lambda x: jnp.sum(apply(x, ()))))(x)
  assert float(value) == pytest.approx(-float(x.sum()), abs=1e-4)
  np.testing.assert_array_equal(slope, np.ones(64))
  with pytest.raises(InputError, match="random"):
    through_host(noise())
