"""Batches against counts and arithmetic by hand; excerpts against the clips."""

import itertools

import numpy as np
import pytest

from jaxadv import segments
from jaxadv.segments import Chunks, Waveforms

CLASSES = 3


def toy(count: int) -> Chunks:
  """Chunks of one frame that name themselves, 2 to a clip; every fifth unverified."""
  index = np.arange(count)
  features = np.eye(count, dtype=np.float32)[:, None]
  return Chunks(features, index // 2 % CLASSES, index // 2, index % 5 != 4)


def waveforms(lengths, **changes) -> Waveforms:
  """Clip n is a ramp: sample k is n + (k + 1) / 2**20, never 0, known by its value."""
  waves = tuple(
    np.float32(n + (np.arange(length) + 1) / 2**20) for n, length in enumerate(lengths)
  )
  count = len(waves)
  settings = {"excerpt_samples": 10, "normalise_peak": False} | changes
  rows = np.arange(count)
  return Waveforms(waves, rows % CLASSES, 100 + rows, rows % 2 == 0, **settings)


def batches(examples, **changes):
  options = {"batch": 8, "steps": 50, "alpha": 1.0, "seed": (0, 1)} | changes
  found = list(segments.mixup_batches(examples, CLASSES, **options))
  assert len(found) == options["steps"]
  assert all(len(part) == options["batch"] for parts in found for part in parts)
  return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def test_batches_are_balanced_over_classes():
  # 90 examples of class 0, 9 of class 1, 1 of class 5
  label = np.repeat([0, 1, 5], [90, 9, 1])
  picked = segments.class_balanced(label, 6000, np.random.default_rng(0))
  counts = np.bincount(label[picked], minlength=6)
  # binomial(6000, 1/3): 4 deviations
  assert (abs(counts[[0, 1, 5]] - 2000) < 4 * np.sqrt(6000 * 2 / 9)).all()
  assert counts.sum() == 6000


def test_a_class_is_used_up_before_it_repeats():
  label = np.repeat([0, 1], [7, 4])
  picked = segments.class_balanced(label, 200, np.random.default_rng(0))
  for c, size in ((0, 7), (1, 4)):
    mine = picked[label[picked] == c]
    rounds = [mine[at : at + size] for at in range(0, len(mine) - size + 1, size)]
    assert len(rounds) > 5
    assert all(set(one) == set(np.flatnonzero(label == c)) for one in rounds)
  orders = {
    tuple(segments.class_balanced(label, 50, np.random.default_rng(seed)))
    for seed in range(5)
  }
  assert len(orders) == 5


def test_mixup_is_linear_in_features_and_labels():
  # a feature that names its chunk tells the pair and lambda from the mixture
  chunks = toy(12)
  index = np.arange(12, dtype=np.float32)
  coded = np.stack([np.eye(12, dtype=np.float32)[n] for n in range(12)])[:, None]
  features = np.concatenate([coded, index[:, None, None] * np.ones((1, 1, 12))], 1)
  x, probs, unverified = batches(chunks._replace(features=features.astype(np.float32)))
  share = x[:, 0]
  assert x.dtype == probs.dtype == np.float32
  assert (share >= 0).all() and ((share > 0).sum(1) <= 2).all()
  np.testing.assert_allclose(share.sum(1), 1, atol=1e-6)
  np.testing.assert_allclose(x[:, 1], (share @ index)[:, None] * np.ones(12), rtol=1e-5)
  expected = share @ np.eye(CLASSES)[chunks.label]
  np.testing.assert_allclose(probs, expected, atol=1e-6)
  np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
  # chunks 4 and 9 are of unverified clips
  np.testing.assert_allclose(unverified, share[:, 4] + share[:, 9], atol=1e-6)
  # one lambda for each pair, uniform for alpha 1
  largest = share.max(1)[(share > 0).sum(1) == 2]
  assert len(np.unique(largest)) > 0.95 * len(largest)
  assert np.mean(largest) == pytest.approx(0.75, abs=0.03)
  # both of a pair are drawn for themselves
  assert (((probs > 0).sum(1) == 1).mean()) == pytest.approx(1 / CLASSES, abs=0.1)


def test_small_alpha_mixes_little():
  # Beta(a, a) has variance 1 / (4 (2 a + 1))
  share = batches(toy(12), alpha=0.1, steps=200)[0][:, 0].max(1)
  assert np.mean((share - 0.5) ** 2) == pytest.approx(1 / (4 * 1.2), rel=0.1)


def test_no_mixup_gives_the_originals():
  chunks = toy(12)
  x, probs, _ = batches(chunks, alpha=0.0)
  originals = {one.tobytes(): label for one, label in zip(*chunks[:2], strict=True)}
  labels = [originals[one.tobytes()] for one in x]
  np.testing.assert_array_equal(probs, np.eye(CLASSES)[labels])


def test_the_seed_decides_the_batches():
  chunks = toy(12)
  one, again, other = (batches(chunks, seed=seed)[0] for seed in ((0, 1), (0, 1), 2))
  np.testing.assert_array_equal(one, again)
  assert (one != other).any()


def places(x: np.ndarray, wave: np.ndarray) -> list[int]:
  """Where x lies in the wave as a slice; before 0: zeros come first."""
  found = []
  for at in range(-len(x) + 1, len(wave)):
    padded = np.concatenate([np.zeros(len(x)), wave, np.zeros(len(x))])
    if np.array_equal(padded[at + len(x) : at + 2 * len(x)], x):
      found.append(at)
  return found


@pytest.mark.parametrize("samples", [10, 7, 6, 1])
def test_an_excerpt_is_a_slice_and_a_short_clip_lies_whole_in_zeros(samples):
  wave = np.arange(1, 8, dtype=np.float32)
  rng = np.random.default_rng(0)
  room, seen = abs(samples - 7), []
  for _ in range(60 * (room + 1)):
    x = segments.excerpt(wave, samples, rng)
    assert x.dtype == np.float32 and x.shape == (samples,)
    (at,) = places(x, wave)
    seen.append(at if samples <= 7 else -at)
  # every offset is reached, and none is liked better: 60 of each, 4 deviations
  counts = np.bincount(seen, minlength=room + 1)
  assert len(counts) == room + 1
  assert (abs(counts - 60) <= 4 * np.sqrt(60)).all()


def test_an_excerpt_is_a_copy():
  wave = np.ones(7, np.float32)
  for samples in (7, 3):
    segments.excerpt(wave, samples, np.random.default_rng(0))[:] = 5
  assert (wave == 1).all()


def test_drawn_excerpts_are_of_the_rows_asked_for():
  made = waveforms([30, 4, 12])
  x = made.draw(np.array([2, 0, 1, 0]), np.random.default_rng(0))
  assert x.shape == (4, 10)
  assert np.unique(np.floor(x[[0, 1, 3]]), axis=1).ravel().tolist() == [2, 0, 0]
  assert (x[2] != 0).sum() == 4 and np.array_equal(x[2][x[2] != 0], made.waves[1])
  assert (x[1] != x[3]).any()


def test_peaks_are_normalised_per_segment():
  waves = (
    np.float32([0, -0.5, 0.1, 0]),
    np.float32([1e-3] * 4),
    np.zeros(4, np.float32),
  )
  made = waveforms([4] * 3, excerpt_samples=4, normalise_peak=True)
  x = made._replace(waves=waves).draw(np.arange(3), np.random.default_rng(0))
  np.testing.assert_allclose(x[0], [0, -1, 0.2, 0], rtol=1e-6)
  np.testing.assert_allclose(x[1], 1, rtol=1e-6)
  np.testing.assert_array_equal(x[2], 0)
  kept = made._replace(waves=waves, normalise_peak=False)
  drawn = kept.draw(np.arange(3), np.random.default_rng(0))
  np.testing.assert_array_equal(drawn, np.stack(waves))


def test_mixed_waveforms_are_mixtures_of_excerpts():
  """Two constants as clips: a mixture tells the pair and its lambda."""
  made = waveforms([6, 6], excerpt_samples=6)._replace(
    waves=(np.full(6, 1, np.float32), np.full(6, 3, np.float32)), label=np.array([0, 2])
  )
  x, probs, unverified = batches(made)
  share = (3 - x) / 2
  np.testing.assert_allclose(share, share[:, :1] * np.ones(6), atol=1e-6)
  np.testing.assert_allclose(probs[:, 0], share[:, 0], atol=1e-6)
  np.testing.assert_allclose(probs[:, 2], 1 - share[:, 0], atol=1e-6)
  np.testing.assert_allclose(unverified, 1 - share[:, 0], atol=1e-6)


def test_seed_and_epoch_decide_the_excerpts():
  made = waveforms([500, 300, 400, 3])
  one, again, next_epoch, other = (
    batches(made, seed=seed)[0] for seed in ((0, 1), (0, 1), (0, 2), (1, 1))
  )
  np.testing.assert_array_equal(one, again)
  for a, b in itertools.combinations((one, next_epoch, other), 2):
    assert (a != b).any()


def test_whole_clips_are_padded_and_grouped_by_length():
  lengths = [5, 65537, 65536, 70000, 1, 131072, 140000]
  made = waveforms(lengths, excerpt_samples=2 * 65536)
  rows, shapes = [], []
  for some, x in made.whole(1):
    rows += some.tolist()
    shapes.append(x.shape)
    for row, padded in itertools.zip_longest(some, x):
      length = 0 if row is None else lengths[row]
      if row is not None:
        np.testing.assert_array_equal(padded[:length], made.waves[row])
      assert not padded[length:].any()
  # two short clips at a time fill a batch of one excerpt; the third has zeros beside it
  assert rows == [0, 2, 4, 1, 3, 5, 6]
  assert shapes == [(2, 65536)] * 2 + [(1, 131072)] * 3 + [(1, 196608)]


@pytest.mark.parametrize("made", [toy(6), waveforms([9, 30, 4, 12, 3, 8])])
def test_selected_rows_keep_what_belongs_to_them(made):
  keep = np.array([False, True, True, False, False, True])
  some = made.select(keep)
  for name in ("label", "clip", "verified"):
    np.testing.assert_array_equal(getattr(some, name), getattr(made, name)[keep])
  assert type(some) is type(made)
  rng = np.random.default_rng(0)
  expected = made.draw(np.array([5, 1]), rng)
  np.testing.assert_array_equal(
    some.draw(np.array([2, 0]), np.random.default_rng(0)), expected
  )
