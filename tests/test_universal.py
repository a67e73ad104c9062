"""One perturbation for many clips: closed forms on linear victims, budgets, masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_victims import DUAL, SIZE, linear

from jaxadv import core, drive, losses, norm_lifts, norms, problem, universal
from jaxadv.attacks import deepfool, pgd
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

T, M = 4, 5  # frames of features
N = T * M
WIDE = (-50.0, 50.0)
VICTIM = linear(3, 2, N)
RNG = np.random.default_rng(4)
X = RNG.uniform(-0.5, 0.5, (40, N)).astype(np.float32)
LABEL = (X @ VICTIM.weights.T + VICTIM.offset).argmax(1)
KEY = jax.random.key(0)
CONVEX = pytest.mark.parametrize("norm", ["l1", "l2", "linf"])


def train(threat, batch, *, steps=60, mask=None, victim=VICTIM, **hyper):
  """The Lane after `steps` of PGD on the margin, the whole set in each."""
  logits = lambda params, x, *other: victim.logits(params, x.ravel())  # noqa: E731
  bound = universal.bind_universal(
    logits, threat, losses.untargeted(losses.margin_loss)
  )
  driver = drive.driver(pgd(steps=steps, **hyper), bound, universal.LATEST)
  example = universal.shared(batch, mask)
  run = jax.jit(functools.partial(drive.solve, driver))
  return jax.device_get(run(tuple(victim), KEY, example))


def pull(batch):
  """w with mean margin(u) = mean margin(0) + w @ u, for two classes."""
  sign = np.where(batch.label == 0, 1.0, -1.0)
  return sign.mean() * (np.float64(VICTIM.weights[0]) - VICTIM.weights[1])


BATCH = core.examples(X, LABEL)


@CONVEX
def test_pgd_finds_the_worst_shared_perturbation(norm):
  """The mean margin falls by radius * dual(mean gradient)."""
  radius = 0.3
  threat = problem.Threat(NORMS[norm], radius, box=WIDE)
  lane = train(threat, BATCH, step_size=0.1)
  w = pull(BATCH)
  np.testing.assert_allclose(-w @ lane.best.delta, radius * DUAL[norm](w), rtol=2e-3)
  exact = (X + lane.best.delta).astype(np.float64)
  logits = exact @ VICTIM.weights.T + VICTIM.offset
  margins = np.where(LABEL == 0, 1, -1) * (logits[:, 0] - logits[:, 1])
  np.testing.assert_allclose(lane.best.loss, margins.mean(), atol=1e-4)


@CONVEX
def test_a_budget_per_frame_is_filled_in_every_frame(norm):
  radius = 0.2
  threat = problem.Threat(norm_lifts.framewise(NORMS[norm], M), radius, box=WIDE)
  batch = core.examples(X.reshape(-1, T, M), LABEL)
  lane = train(threat, batch, step_size=0.1)
  w = pull(BATCH).reshape(T, M)
  expected = radius * sum(DUAL[norm](row) for row in w)
  np.testing.assert_allclose(-(w * lane.best.delta).sum(), expected, rtol=2e-3)
  assert max(SIZE[norm](np.float64(row)) for row in lane.best.delta) <= radius * 1.00001
  assert lane.best.delta.shape == (T, M)


def test_a_mask_over_time_and_bands_is_kept_and_filled():
  region = np.zeros((T, M))
  region[1:3, 2:] = 1
  radius = 0.2
  threat = problem.Threat(norm_lifts.framewise(norms.L2, M), radius, box=WIDE)
  batch = core.examples(X.reshape(-1, T, M), LABEL)
  lane = train(threat, batch, mask=region, step_size=0.1)
  assert (lane.best.delta[region == 0] == 0).all()
  w = pull(BATCH).reshape(T, M) * region
  expected = radius * sum(DUAL["l2"](row) for row in w)
  np.testing.assert_allclose(-(w * lane.best.delta).sum(), expected, rtol=2e-3)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_budget_in_db_holds_for_every_clip_and_is_filled(norm):
  x = X * np.geomspace(0.01, 1, len(X), dtype=np.float32)[:, None]
  batch = core.examples(x, 0)
  threat = problem.Threat(NORMS[norm], 20.0, "snr_db", box=WIDE)
  u = train(threat, batch).best.delta
  moved = np.asarray(universal.heard(threat, batch, jnp.asarray(u)), np.float64) - x
  ratio = np.linalg.norm(np.float64(x), axis=1) / np.linalg.norm(moved, axis=1)
  snr_db = 20 * np.log10(ratio)
  np.testing.assert_allclose(snr_db, 20, atol=1e-2)


def test_clips_are_heard_inside_box_and_mask():
  mask = RNG.uniform(size=X.shape) < 0.7
  batch = core.examples(2 * X, LABEL, mask=mask)
  u = RNG.normal(size=N).astype(np.float32)
  threat = problem.Threat(norms.LINF, 0.1)
  moved = np.asarray(universal.heard(threat, batch, jnp.asarray(u)))
  np.testing.assert_allclose(moved, np.clip(2 * X + u * mask, -1, 1), atol=1e-6)


def test_only_the_chosen_input_is_attacked():
  """A victim of two inputs: each clip keeps its own other one."""
  other = RNG.normal(size=(len(X), 3)).astype(np.float32)
  readout = RNG.normal(size=(3, 2)).astype(np.float32)

  def logits(params, x, video):
    return VICTIM.logits(params, x) + video @ readout

  batch = core.examples(X, LABEL, other=(other,))
  bound = universal.bind_universal(
    logits, problem.Threat(norms.L2, 1.0, box=WIDE), losses.untargeted()
  )
  said = bound(tuple(VICTIM), KEY, universal.shared(batch)).logits(jnp.full(N, 0.1))
  expected = (X + 0.1) @ VICTIM.weights.T + VICTIM.offset + other @ readout
  np.testing.assert_allclose(said, expected, atol=1e-4)


def test_minibatches_train_a_perturbation_that_fools_clips_it_never_heard():
  """Epochs of shuffled minibatches, against noise of the same size, on other clips."""
  x = RNG.uniform(-0.5, 0.5, (400, N)).astype(np.float32)
  said = (x @ VICTIM.weights.T + VICTIM.offset).argmax(1)
  x = x[said == 0]  # one class: the other can't be reached by the same step
  train_x, test_x = x[:100], x[100:]
  threat = problem.Threat(norms.L2, 0.5, box=WIDE)
  bound = universal.bind_universal(VICTIM.logits, threat, losses.untargeted())
  driver = drive.driver(pgd(steps=40, step_size=0.1), bound, universal.LATEST)
  batches = [
    core.examples(train_x[order], 0)
    for _ in range(4)
    for order in RNG.permutation(100).reshape(10, 10)
  ]
  params = tuple(VICTIM)
  lane = driver.start(params, KEY, universal.shared(batches[0]))
  advance = jax.jit(driver.advance)
  for batch in batches:
    lane = advance(params, KEY, lane, universal.shared(batch))
  assert lane.step == 40

  def fooled(u):
    return (((test_x + u) @ VICTIM.weights.T + VICTIM.offset).argmax(1) == 1).mean()

  w = VICTIM.weights[1] - VICTIM.weights[0]
  noise = RNG.normal(size=N)
  best = fooled(0.5 * w / np.linalg.norm(w))
  assert fooled(np.asarray(lane.best.delta)) >= best - 0.02
  assert best > fooled(0.5 * noise / np.linalg.norm(noise)) + 0.1


@pytest.mark.parametrize("name", ["l1", "l2", "linf", "band"])
def test_lifted_norms_have_the_dual_that_their_steepest_direction_attains(name):
  """What deepfool, fab and fmn measure distances by."""
  grad = RNG.normal(size=(T, M)).astype(np.float32)
  lifted = norm_lifts.band_limited(norms.L2, 200.0, 500.0, 2000.0)
  if name == "band":
    grad = grad.ravel()
    frequency = np.fft.rfftfreq(N, 1 / 2000)
    inside = (frequency >= 200) & (frequency <= 500)
    expected = DUAL["l2"](np.fft.irfft(np.fft.rfft(np.float64(grad)) * inside, N))
  else:
    lifted = norm_lifts.framewise(NORMS[name], M)
    expected = sum(DUAL[name](row) for row in np.float64(grad))
  step = lifted.steepest(grad)
  np.testing.assert_allclose(lifted.dual(grad), expected, rtol=1e-5)
  np.testing.assert_allclose((step * grad).sum(), expected, rtol=1e-5)
  np.testing.assert_allclose(lifted.size(step), 1.0, rtol=1e-5)


def test_deepfool_reaches_the_nearest_boundary_by_a_budget_per_frame():
  threat = problem.Threat(norm_lifts.framewise(norms.L2, M), box=WIDE)
  logits = lambda params, x: VICTIM.logits(params, x.ravel())  # noqa: E731
  bound = problem.bind(logits, threat, losses.untargeted(losses.margin_loss))
  batch = core.examples(X.reshape(-1, T, M), LABEL)
  lanes = drive.solve_batch(drive.driver(deepfool(), bound))(tuple(VICTIM), KEY, batch)
  w = np.float64(VICTIM.weights[0]) - VICTIM.weights[1]
  lead = np.abs(X @ w + VICTIM.offset[0] - VICTIM.offset[1])
  optimum = lead / sum(DUAL["l2"](row) for row in w.reshape(T, M))
  np.testing.assert_allclose(lanes.best.size, optimum, rtol=0.03)
  assert lanes.best.success.all() and (lanes.best.size > 0.999 * optimum).all()


def test_frames_must_be_whole():
  with pytest.raises(InputError, match=r"21 values .* frames of 5"):
    norm_lifts.framewise(norms.L2, 5).size(jnp.zeros(21))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_mask_over_frequency_is_kept_on_waveforms(norm):
  """In l2 the optimum is known: the gradient's part inside the band."""
  band = norm_lifts.band_limited(NORMS[norm], 200.0, 500.0, rate_hz=1000.0 * 2)
  lane = train(problem.Threat(band, 0.3, box=WIDE), BATCH, step_size=0.1)
  u = np.float64(lane.best.delta)
  spectrum = np.abs(np.fft.rfft(u))
  frequency = np.fft.rfftfreq(N, 1 / 2000)
  inside = (frequency >= 200) & (frequency <= 500)
  assert spectrum[~inside].max() < 1e-6 < 1e-2 < spectrum[inside].max()
  assert SIZE[norm](u) <= 0.3 * 1.00001
  w = np.fft.irfft(np.fft.rfft(pull(BATCH)) * inside, N)
  if norm == "l2":
    np.testing.assert_allclose(-w @ u, 0.3 * DUAL["l2"](w), rtol=2e-3)
  assert -w @ u > 0.5 * 0.3 * DUAL[norm](w)


def test_a_band_must_exist():
  with pytest.raises(InputError, match=r"band 500.0 to 200.0 Hz"):
    norm_lifts.band_limited(norms.L2, 500.0, 200.0, 2000.0)


def test_a_band_holds_the_frequencies_at_its_ends():
  """Bins 3 to 7 of 1024 samples at 32 kHz."""
  band = norm_lifts.band_limited(norms.L2, 93.75, 218.75, 32000.0)
  noise = np.random.default_rng(0).normal(size=1024).astype(np.float32)
  spectrum = np.abs(np.fft.rfft(np.asarray(band.direction(noise))))
  assert set(np.flatnonzero(spectrum > 1e-3)) == {3, 4, 5, 6, 7}
