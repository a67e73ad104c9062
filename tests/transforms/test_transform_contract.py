"""Every transform against the rules that all of them keep."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from clips_by_hand import onset_clip, snr_db

from jaxadv.data.audio import SAMPLE_RATE_HZ as RATE_OF_DATA
from jaxadv.errors import InputError
from jaxadv.transforms import (
  SAMPLE_RATE_HZ,
  TRANSFORMS,
  bit_depth,
  chain,
  gain,
  mp3,
  noise,
  opus,
  resample,
  reverberate,
  rng_of,
  time_shift,
  user,
)


def halve(x):
  x *= 0.5  # in place: a user's function may
  return x


CASES = {name: factory() for name, factory in TRANSFORMS.items() if name != "user"}
CASES |= {
  "user": user(halve),
  "time_shift": time_shift(0.01),  # the default is longer than the shortest clip
  "random gain": gain(0.0, range_db=6.0),
  "random shift": time_shift(0.0, range_s=0.02),
  "live recording": reverberate(pink_noise_db=40.0),
  "level rms": reverberate(level="rms"),
  "level none": reverberate(level="none"),
  "chain": chain(noise(40.0), mp3(48), bit_depth(8)),
}
RANDOM = {"noise", "flood", "random gain", "random shift", "live recording", "chain"}
EACH = pytest.mark.parametrize("name", CASES)


@EACH
@pytest.mark.parametrize("samples", [1600, 12345])
def test_contract(name, samples):
  transform, x = CASES[name], onset_clip(samples)
  before = x.copy()
  y = transform(x, rng_of(1, "a.wav", transform.name))
  assert x.tobytes() == before.tobytes()
  assert y.dtype == np.float32 and y.shape == x.shape and np.isfinite(y).all()
  # it does something, and what is left is not noise alone
  shorter_than_a_frame = name == "trim" and samples < 2048
  assert shorter_than_a_frame or not np.array_equal(y, x)
  assert np.abs(y).max() > 0.05

  again = transform(x, rng_of(1, "a.wav", transform.name))
  assert again.tobytes() == y.tobytes()
  others = [rng_of(1, "b.wav", transform.name), rng_of(2, "a.wav", transform.name)]
  for rng in others:
    differs = transform(x, rng).tobytes() != y.tobytes()
    assert differs == (name in RANDOM)


@EACH
def test_silence_stays_silent(name):
  transform = CASES[name]
  y = transform(np.zeros(1600, np.float32), rng_of(0, 0, transform.name))
  assert np.isfinite(y).all()
  assert np.abs(y).max() <= (0.01 if name == "flood" else 1e-6)


@EACH
def test_worker_processes_can_have_it(name):
  transform = CASES[name]
  copy = pickle.loads(pickle.dumps(transform))
  x = onset_clip(1600)
  assert np.array_equal(copy(x, rng_of(0, 1, "")), transform(x, rng_of(0, 1, "")))


@EACH
def test_input_that_is_no_waveform(name):
  rng = np.random.default_rng(0)
  with pytest.raises(InputError, match=r"shape \(2, 1600\).*one channel"):
    CASES[name](np.zeros((2, 1600), np.float32), rng)
  with pytest.raises(InputError, match="NaN"):
    CASES[name](np.full(1600, np.nan, np.float32), rng)
  with pytest.raises(InputError, match="empty"):
    CASES[name](np.zeros(0, np.float32), rng)


def test_defaults_have_the_type_of_their_values():
  for name, factory in TRANSFORMS.items():
    for parameter in inspect.signature(factory).parameters.values():
      assert type(parameter.default) in (int, float, str), (name, parameter)


def test_loud_clips_are_not_clipped():
  x = 1.4 * onset_clip(6400) / np.abs(onset_clip(6400)).max()
  louder = gain(6.0)(x, rng_of(0, 0, ""))
  np.testing.assert_allclose(louder, x * 10**0.3, rtol=1e-6)
  assert abs(noise(40.0)(x, rng_of(0, 0, ""))).max() > 1.3
  assert abs(bit_depth(8)(x, rng_of(0, 0, ""))).max() == 1  # stated


BAD = {
  "mp3": [("bitrate_kbit", 50), ("bitrate_kbit", 8)],
  "aac": [("bitrate_kbit", 500)],
  "opus": [("bitrate_kbit", 1)],
  "vorbis": [("quality", 11.0)],
  "resample": [("rate_hz", 32000), ("rate_hz", 0)],
  "low_pass": [("cutoff_hz", 16000.0), ("cutoff_hz", float("nan"))],
  "band_pass": [("low_hz", 9000.0), ("high_hz", -1.0)],
  "smooth": [("window_samples", 4)],
  "median": [("window_samples", 1)],
  "noise": [("snr_db", float("nan"))],
  "flood": [("amplitude", 0.0)],
  "gain": [("gain_db", 1e9), ("range_db", -1.0)],
  "bit_depth": [("bits", 1)],
  "reverberate": [
    ("level", "loud"),
    ("rt60_s", 0.0),
    ("direct_to_reverberant_db", 99.0),
    ("pink_noise_db", float("nan")),
    ("impulse_response", "/nowhere/hall.wav"),
  ],
  "time_shift": [("range_s", -1.0), ("shift_s", 1e9)],
  "time_stretch": [("rate", 0.0)],
  "pitch_shift": [("semitones", 50.0)],
  "trim": [("below_peak_db", 0.0)],
  "user": [("function", ""), ("function", "nowhere.py:f"), ("function", "os:nothing")],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters_are_one_sentence_at_the_start(name):
  for key, value in BAD[name]:
    with pytest.raises(InputError) as caught:
      TRANSFORMS[name](**{key: value})
    message = str(caught.value)
    assert message.startswith(f"{key} is {value!r}") and "\n" not in message


def test_every_transform_with_parameters_refuses_bad_ones():
  assert set(BAD) == set(TRANSFORMS) - {"phone_band"}


def test_chain_is_its_links_in_turn():
  x = onset_clip(6400)
  both = chain(gain(-6.0), bit_depth(4))(x, rng_of(0, 0, ""))
  one = gain(-6.0)(x, rng_of(0, 0, ""))
  assert np.array_equal(both, bit_depth(4)(one, rng_of(0, 0, "")))
  # not the other order, and each link with noise of its own
  assert not np.array_equal(both, chain(bit_depth(4), gain(-6.0))(x, rng_of(0, 0, "")))
  twice = chain(noise(20.0), noise(20.0))(x, rng_of(0, 0, ""))
  assert snr_db(twice, x) == pytest.approx(20 - 3.03, abs=0.3)
  with pytest.raises(InputError, match="empty chain"):
    chain()


USERS = """
import numpy as np
def halve(x): return x / 2
def shorter(x): return x[1:]
def infinite(x): return x / np.float32(0)
number = 3
"""


def test_a_function_of_the_users(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text(USERS)
  x, rng = onset_clip(1600), rng_of(0, 0, "")
  assert np.array_equal(user(f"{file}:halve")(x, rng), x / 2)
  assert np.array_equal(user("numpy:negative")(x, rng), -x)
  with pytest.raises(InputError, match="no function"):
    user(f"{file}:number")
  with pytest.raises(InputError, match=r"shape \(1599,\): it must keep"):
    user(f"{file}:shorter")(x, rng)
  with pytest.raises(InputError, match="NaN or infinite"), np.errstate(all="ignore"):
    user(f"{file}:infinite")(x, rng)
  file = tmp_path / "broken.py"
  file.write_text("1 / 0")
  with pytest.raises(InputError, match="failed: ZeroDivisionError"):
    user(f"{file}:halve")


def test_transforms_are_the_same_by_what_they_do():
  assert opus().same_as(opus(bitrate_kbit=48)._replace(name="mine"))
  assert not opus().same_as(opus(bitrate_kbit=64))
  assert not noise(20.0).same_as(noise(40.0))
  assert reverberate().same_as(reverberate())
  assert chain(opus(), noise(20.0)).same_as(chain(opus(), noise(20.0), name="both"))
  assert not chain(opus(), noise(20.0)).same_as(chain(noise(20.0), opus()))


def test_paper_conditions_can_be_named():
  made = [mp3(k) for k in (48, 128, 320)]
  made += [noise(db) for db in (20.0, 40.0, 60.0)]
  made += [resample(hz) for hz in (8000, 16000, 20000)] + [reverberate()]
  assert len({transform.name for transform in made}) == 10


def test_no_jax_in_the_numpy_stage():
  assert SAMPLE_RATE_HZ == RATE_OF_DATA
  code = """
import sys
import numpy as np
from jaxadv.transforms import TRANSFORMS, rng_of
for name in ("mp3", "vorbis", "noise", "low_pass", "reverberate"):
  TRANSFORMS[name]()(np.ones(1600, np.float32), rng_of(0, 0, name))
assert "jax" not in sys.modules
"""
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
