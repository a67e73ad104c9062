"""Attacks hear a padded clip: a twin must make of it what numpy makes of the clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clips_by_hand import noise_clip, snr_db

from jaxadv import core, losses, norms, problem
from jaxadv.transforms import (
  chain,
  flood,
  gain,
  median,
  mp3,
  noise,
  resample,
  reverberate,
  smooth,
)
from jaxadv.transforms.twins import twin

LENGTH, PADDED = 3001, 6400
SAME = {  # without draws
  "resample 8": resample(8000),
  "resample 20": resample(20000),
  "reverberate": reverberate(rt60_s=0.3),
  "smooth": smooth(7),
  "median": median(5),
  "gain": gain(-6.0),
  "mp3": mp3(48),
  "chain": chain(reverberate(rt60_s=0.3), resample(8000), gain(-6.0)),
}


def clip() -> np.ndarray:
  """Loudest where it ends, so that what is beyond the end would show."""
  return (noise_clip(LENGTH) * np.linspace(0.2, 1, LENGTH)).astype(np.float32)


def heard(transform, **changes) -> np.ndarray:
  """What a victim hears of the padded clip through `bind_through`. [PADDED]."""
  x = np.pad(clip(), (0, PADDED - LENGTH))
  mask = (np.arange(PADDED) < LENGTH).astype(np.float32)
  stack = core.examples(x[None], 0, mask=changes.get("mask", mask))
  bind = problem.bind_through(
    lambda params, x: x,  # one "class" a sample
    problem.Threat(norms.L2),
    losses.untargeted(),
    twin(transform),
    draws=1,
  )
  bound = bind(None, jax.random.key(3), jax.tree.map(lambda leaf: leaf[0], stack))
  logits = np.asarray(bound.logits(jnp.zeros(PADDED)), np.float64)
  return logits - logits[-1]  # log-softmax moves all by one number; padding is 0


@pytest.mark.parametrize("name", SAME)
def test_the_clip_is_heard_as_if_there_were_no_padding(name):
  y = heard(SAME[name])
  draws = SAME[name].draw(np.random.default_rng(0), LENGTH)
  expected = SAME[name].apply(clip(), draws)
  np.testing.assert_allclose(y[:LENGTH], expected, atol=5e-6)
  assert not np.allclose(expected, clip(), atol=1e-3)
  np.testing.assert_array_equal(y[LENGTH:], 0)


@pytest.mark.parametrize(
  "transform", [noise(20.0), chain(gain(-6.0), noise(20.0), gain(6.0))]
)
def test_noise_has_its_level_in_the_clip(transform):
  y = heard(transform)
  assert snr_db(y[:LENGTH], clip()) == pytest.approx(20, abs=0.01)
  np.testing.assert_array_equal(y[LENGTH:], 0)


def test_a_live_recording_has_the_level_of_the_clip():
  y = heard(reverberate(rt60_s=0.3, level="rms", pink_noise_db=10.0))
  assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(clip()), rel=1e-4)
  assert np.linalg.norm(y[LENGTH:]) == 0


def test_what_the_attacker_may_not_write_to_is_heard_all_the_same():
  mask = ((np.arange(PADDED) > 900) & (np.arange(PADDED) < LENGTH)).astype(np.float32)
  np.testing.assert_array_equal(
    heard(SAME["reverberate"], mask=mask), heard(SAME["reverberate"])
  )


@pytest.mark.parametrize("transform", [noise(10.0), flood(0.01)])
def test_draws_beyond_the_end_do_not_matter(transform):
  draws = transform.draw(np.random.default_rng(0), PADDED)
  x = np.pad(clip(), (0, PADDED - LENGTH))
  y = twin(transform).apply(x, draws, jnp.int32(LENGTH))
  expected = transform.apply(clip(), (draws[0][:LENGTH],))
  np.testing.assert_allclose(y[:LENGTH], expected, atol=1e-6)
