"""What is stored of an adversarial."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jaxadv import (
  attacks,
  core,
  data,
  drive,
  engine,
  ensemble,
  entries,
  losses,
  norms,
  problem,
  record,
  victim,
)
from jaxadv.data.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ
from jaxadv.judge import judge
from jaxadv.models import frontends
from jaxadv.record import late_drop, snr_of_mean_db, wav_bytes, within_threat


def test_16_bits_are_rounded_to():
  x = np.array([0.0, 0.99, -0.2, 0.51, -0.51, 3.4]) / 32768
  back = soundfile.read(io.BytesIO(wav_bytes(x, "PCM_16")), dtype="int16")[0]
  np.testing.assert_array_equal(back, [0, 1, 0, 1, -1, 3])


def test_16_bits_saturate():
  ends = np.array([1.0, -1.0, 0.99999])
  back = soundfile.read(io.BytesIO(wav_bytes(ends, "PCM_16")), dtype="int16")[0]
  np.testing.assert_array_equal(back, [32767, -32768, 32767])


def test_float_wav_is_exact():
  x = np.random.default_rng(0).normal(0, 1e-6, 1000).astype(np.float32)
  back, rate_hz = soundfile.read(io.BytesIO(wav_bytes(x, "FLOAT")), dtype="float32")
  np.testing.assert_array_equal(back, x)
  assert rate_hz == SAMPLE_RATE_HZ


def test_the_square_of_the_mean_in_place_of_the_mean_square():
  # P = mean(1, 1, 0, 0) = 1/2; the mean of the noise is 0.02/4, zeros counted too
  x, delta = np.array([1.0, -1.0, 0, 0]), np.array([0.12, -0.1, 0, 0])
  expected = 10 * np.log10(0.5 / 0.005**2)
  assert snr_of_mean_db(x, delta) == pytest.approx(expected)
  # where the noise is constant, the two are one
  flat = np.full(4, -0.05, np.float32)
  assert snr_of_mean_db(x, flat) == pytest.approx(10 * np.log10(0.5 / 0.05**2))
  assert snr_of_mean_db(x, np.array([0.1, -0.1, 0, 0])) == np.inf


CLIP = np.linspace(-0.5, 0.5, 64, dtype=np.float32)


@pytest.mark.parametrize("norm", ["l0", "l1", "l2", "linf"])
def test_what_breaks_radius_mask_or_box_is_outside_the_threat(norm):
  mask = np.float32(np.arange(64) < 48)
  example = core.Example(0, CLIP, mask, 0, -1)
  size = {"l0": 10, "l1": 1.0, "l2": 0.3, "linf": 0.1}[norm]
  threat = problem.Threat(norms.NORMS[norm], float(size), box=(-0.6, 0.6))
  shape = np.random.default_rng(0).choice([-1.0, 1.0], 64) * mask
  if norm == "l0":
    filled = np.where(np.arange(64) < size, 0.05, 0) * shape
    more = np.where(np.arange(64) < size + 1, 0.05, 0) * shape
  else:
    filled = size * shape / {"l1": 48, "l2": 48**0.5, "linf": 1}[norm]
    more = 1.001 * filled
  says = lambda delta: within_threat(  # noqa: E731
    threat, example, np.float32(np.float64(CLIP) + delta)
  )
  assert says(filled) and says(0 * filled)
  assert not says(more)
  one = np.zeros(64)
  one[60] = 1e-4  # where the mask is 0
  assert not says(one)
  wide = threat._replace(radius=100.0)
  one[60], one[0] = 0, -0.11  # below -0.6
  assert not within_threat(wide, example, np.float32(CLIP + one))


def outcome(**watched):
  none = drive.Watch(0, 0, 0, np.float32(np.inf))
  trial = core.Trial(None, np.float32(1.5), False, np.float32(0), np.float32(1))
  return engine.Outcome(0, 20, trial, none._replace(**watched), 0.0)


def test_the_late_fall_is_a_share_of_the_loss_and_unknown_where_none_was_seen():
  assert late_drop(outcome(late_loss=np.float32(2.0))) == pytest.approx(0.25)
  assert late_drop(outcome(late_loss=np.float32(1.5))) == 0
  assert late_drop(outcome()) is None


def test_steps_without_a_number_or_a_gradient_are_counted():
  """Of PGD on a victim with no gradient on the second clip, and NaN on the third."""

  def logits(params, x):
    heard = jnp.where(x[0] > 0, jax.lax.stop_gradient(x), x)
    said = jnp.stack([heard.mean() + 0.1, jnp.zeros(())])
    return said + jnp.where(x[1] > 0, jnp.nan, 0.0)

  clips = np.zeros((3, 64), np.float32)
  clips[1, 0], clips[2, 1] = 0.5, 0.5
  batch = core.examples(clips, 0, mask=np.float32(np.arange(64) > 9))
  threat = problem.Threat(norms.LINF, 0.05)
  bind = problem.bind(logits, threat, losses.untargeted())
  made = drive.driver(attacks.pgd(steps=3, random_start=False), bind)
  run = jax.jit(jax.vmap(lambda one: drive.solve(made, None, jax.random.key(0), one)))
  watch = jax.device_get(run(batch).watch)
  np.testing.assert_array_equal(watch.zero_gradients, [0, 4, 0])
  np.testing.assert_array_equal(watch.nan_steps, [0, 0, 4])


def test_a_success_that_the_stored_file_has_not_is_silent(tmp_path):
  """And what went wrong in the steps is in the row."""
  sure = victim.of_function(
    "sure", lambda weights, x: weights + x[:2], np.float32([9, 0]), ("a", "b")
  )
  entry = {"method": "pgd", "norm": "linf", "radius": 0.05}
  plan = entries.attack_plan("pgd", entry, target=False)
  shared = dict.fromkeys(("config_hash", "versions", "device", "precision"), "")
  shared |= {"attack": "pgd", "model": "sure", "seed": 0}
  recorder = record.Recorder(tmp_path, sure, plan, judge(sure.logits), shared, 1)
  x = np.zeros(CHUNK_SAMPLES, np.float32)
  found = outcome(first_success=2, nan_steps=3, zero_gradients=1)
  found = found._replace(best=found.best._replace(delta=x))
  end = ensemble.Found(0, found, ensemble.Cost(20, 20, 20, 0.1), found.watch)
  job = record.Job(0, data.Clip(0, "a.wav", tmp_path, 0, True), -1)
  example = core.Example(0, x, np.ones_like(x), 0, -1)
  (row,) = recorder.store([record.Finished(job, example, 100, end)])
  assert row["silent_success"] and not row["success"]
  assert row["within_threat"]
  told = row["first_success_step"], row["nan_steps"], row["zero_gradients"]
  assert told == (2, 3, 1)


def test_both_stages_agree_on_rate_and_chunk():
  """The numpy stage may not import the models; the two must say the same."""
  assert frontends.SAMPLE_RATE_HZ == SAMPLE_RATE_HZ
  assert frontends.CHUNK_SAMPLES == CHUNK_SAMPLES
