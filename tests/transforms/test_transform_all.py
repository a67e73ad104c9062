"""Many clips: the same whoever does it, failures told, early ends, no jax."""

import time

import numpy as np
import pytest
import soundfile
from clips_by_hand import noise_clip, onset_clip

from jaxadv.errors import InputError
from jaxadv.transforms import (
  aac,
  bit_depth,
  chain,
  gain,
  mp3,
  noise,
  reverberate,
  rng_of,
  transform_all,
  user,
)

OWN = """
import sys
def without_jax(x):
  assert "jax" not in sys.modules
  return x / 2
def fails_on_loud(x):
  if abs(x).max() > 0.9:
    raise ValueError("too\\nloud")
  return -x
"""


@pytest.fixture
def own(tmp_path):
  (tmp_path / "own.py").write_text(OWN)
  return str(tmp_path / "own.py")


def clips(folder):
  found = []
  for i in range(4):
    x = noise_clip(3000 + 700 * i, seed=i)
    path = folder / f"{i}.wav"
    soundfile.write(path, x, 32000, subtype="FLOAT")
    found.append((f"{i}", path if i % 2 else x))
  (folder / "bad.wav").write_text("404 not found")
  loud = np.clip(5 * onset_clip(2000), -1, 1)
  return [*found[:2], ("bad", folder / "bad.wav"), *found[2:], ("loud", loud)]


def chosen(own):
  return [
    noise(20.0),
    mp3(48),
    chain(noise(40.0), aac(), bit_depth(8)),
    reverberate(rt60_s=0.3),
    user(f"{own}:fails_on_loud"),
  ]


def test_the_same_with_any_number_of_workers(tmp_path, own):
  items, transforms = clips(tmp_path), chosen(own)
  options = [{"threads": 1}, {"threads": 4}, {"threads": 2, "buffer": 1}]
  options += [{"processes": 2}]
  for option in options:
    extra = [user(f"{own}:without_jax")] if "processes" in option else []
    done = list(transform_all(items, [*transforms, *extra], seed=3, **option))
    each = [(clip_id, t) for clip_id, _ in items for t in [*transforms, *extra]]
    assert [one[:2] for one in done] == [(i, t.name) for i, t in each]
    for (clip_id, y, reason), (_, transform) in zip(
      [(one.clip_id, one.x, one.reason) for one in done], each, strict=True
    ):
      if clip_id == "bad":
        assert y is None and "not audio" in reason
        continue
      if clip_id == "loud" and "fails" in transform.name:
        assert y is None and reason == "ValueError: too loud"
        continue
      x = dict(items)[clip_id]
      x = x if isinstance(x, np.ndarray) else soundfile.read(x, dtype="float32")[0]
      expected = (
        x / 2
        if transform in extra
        else transform(x, rng_of(3, clip_id, transform.name))
      )
      assert reason == "" and y.dtype == np.float32
      assert y.tobytes() == expected.tobytes()


def test_results_depend_on_seed_and_id_only():
  x = noise_clip(1600)
  first, second = transform_all([(1, x), (2, x)], [noise()], seed=0)
  assert not np.array_equal(first.x, second.x)
  (alone,) = transform_all([(2, x)], [noise()], seed=0)
  assert np.array_equal(alone.x, second.x)
  (other,) = transform_all([(2, x)], [noise()], seed=1)
  assert not np.array_equal(other.x, second.x)


def test_clips_are_taken_as_they_are_needed():
  taken = []

  def endless():
    while True:
      taken.append(len(taken))
      yield taken[-1], noise_clip(1600)

  done = transform_all(endless(), [gain()], seed=0, threads=2, buffer=3)
  assert taken == []
  for _ in range(5):
    next(done)
  assert len(taken) <= 5 + 4
  start = time.monotonic()
  done.close()
  assert time.monotonic() - start < 2


def test_no_clips():
  assert list(transform_all([], [gain()], seed=0)) == []


def test_a_waveform_that_is_none_is_told():
  stereo = np.zeros((2, 1600), np.float32)
  (one,) = transform_all([("a", stereo)], [gain()], seed=0)
  assert one.x is None and "one channel" in one.reason


def test_what_workers_can_not_have_is_said_at_the_start():
  with pytest.raises(InputError, match=r"can't be sent .*FILE\.py:NAME"):
    transform_all([], [user(lambda x: x)], seed=0, processes=2)
  with pytest.raises(InputError, match="two transforms are called 'noise 20 dB'"):
    transform_all([], [noise(20.0), noise(20.0)], seed=0)
