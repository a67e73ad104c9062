"""Decoding against librosa and closed forms; every bad file against its reason."""

import struct
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.data.audio import (
  BadClip,
  count_chunks,
  frames_after_resampling,
  pad_to_chunks,
  read_audio,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "FSDKaggle2018"
RATES_HZ = (8000, 11025, 22050, 32000, 44100, 47999, 48000, 96000)


def sine(hz: float, rate_hz: int, seconds: float, peak: float = 0.5) -> np.ndarray:
  return peak * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def amplitude(x: np.ndarray, hz: float, rate_hz: int) -> float:
  """Of the sine at `hz`, by projection, away from the ends."""
  x = x[2000:-2000]
  turns = np.exp(-2j * np.pi * hz * np.arange(len(x)) / rate_hz)
  window = np.hanning(len(x))
  return float(2 * abs((x * window) @ turns) / window.sum())


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("band_limit_hz", [0, 22050])
def test_a_sine_keeps_its_frequency_and_amplitude(tmp_path, rate_hz, band_limit_hz):
  path = tmp_path / "a.wav"
  soundfile.write(path, sine(1000, rate_hz, 1), rate_hz, "FLOAT")
  x = read_audio(path, band_limit_hz=band_limit_hz).x
  assert x.dtype == np.float32 and len(x) == 32000
  # its phase as well: what is left after taking the sine away
  assert np.abs(x - sine(1000, 32000, 1))[2000:-2000].max() < 1e-4


def test_the_band_limit_takes_away_what_lies_above(tmp_path):
  path = tmp_path / "a.wav"
  high = sine(13000, 44100, 0.5, 0.3) + sine(9000, 44100, 0.5, 0.3)
  soundfile.write(path, high, 44100, "FLOAT")
  free, limited = read_audio(path).x, read_audio(path, band_limit_hz=22050).x
  assert amplitude(free, 13000, 32000) == pytest.approx(0.3, rel=1e-3)
  assert amplitude(limited, 13000, 32000) < 1e-5
  assert amplitude(limited, 9000, 32000) == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("rate_hz, channels", [(44100, 1), (48000, 2), (22050, 3)])
def test_librosa_hears_the_same(tmp_path, rate_hz, channels):
  path = tmp_path / "a.wav"
  noise = np.random.default_rng(0).uniform(-0.5, 0.5, (rate_hz // 3, channels))
  soundfile.write(path, noise, rate_hz, "PCM_24")
  x = read_audio(path).x
  # librosa rounds the length up and fills with a zero
  theirs, _ = librosa.load(path, sr=32000)
  assert 0 <= len(theirs) - len(x) <= 1
  np.testing.assert_allclose(x, theirs[: len(x)], atol=1e-6)
  once, _ = librosa.load(path, sr=22050)
  twice = librosa.resample(once, orig_sr=22050, target_sr=32000)[: len(x)]
  ours = read_audio(path, band_limit_hz=22050).x[: len(twice)]
  # the ends differ: librosa's zero goes through its second filter
  np.testing.assert_allclose(ours[:-200], twice[:-200], atol=1e-6)


@pytest.mark.parametrize(
  "suffix, subtype, step",
  [
    ("wav", "PCM_U8", 2**-7),
    ("wav", "PCM_16", 2**-15),
    ("wav", "PCM_24", 2**-23),
    ("wav", "PCM_32", 1e-7),
    ("wav", "FLOAT", 1e-7),
    ("wav", "DOUBLE", 1e-7),
    ("flac", "PCM_16", 2**-15),
    ("flac", "PCM_24", 2**-23),
  ],
)
def test_sample_formats(tmp_path, suffix, subtype, step):
  path = tmp_path / f"a.{suffix}"
  x = np.random.default_rng(1).uniform(-0.9, 0.9, 4000)
  soundfile.write(path, x, 32000, subtype)
  audio = read_audio(path)
  assert audio.notes == ()
  assert np.abs(audio.x - x).max() <= step


def test_stereo_is_averaged_and_noted(tmp_path):
  path = tmp_path / "a.wav"
  left, right = np.full(4000, 0.5), np.full(4000, -0.25)
  soundfile.write(path, np.stack([left, right], 1), 32000, "FLOAT")
  audio = read_audio(path)
  assert audio.notes == ("2 channels mixed to mono",)
  np.testing.assert_array_equal(audio.x, np.full(4000, 0.125, np.float32))


@pytest.mark.parametrize("rate_hz", [32000, 44100])
def test_only_a_loud_source_is_noted_as_clipped(tmp_path, rate_hz):
  path = tmp_path / "a.wav"
  # the overshoot of a square wave at a new rate leaves [-1, 1] too
  square = np.sign(sine(200.5, rate_hz, 0.5))
  soundfile.write(path, square, rate_hz, "FLOAT")
  audio = read_audio(path)
  assert audio.notes == () and np.abs(audio.x).max() == 1
  soundfile.write(path, 1.7 * square, rate_hz, "FLOAT")
  audio = read_audio(path)
  assert audio.notes == ("clipped to [-1, 1]: peak 1.7",)
  assert audio.x.min() == -1 and audio.x.max() == 1


@settings(max_examples=60, deadline=None)
@given(
  rate_hz=st.sampled_from(RATES_HZ),
  band_limit_hz=st.sampled_from([0, 16000, 22050]),
  frames=st.integers(1, 3000),
  chunk_samples=st.sampled_from([1, 7, 512, 65536]),
)
def test_the_header_tells_the_bucket(
  tmp_path_factory, rate_hz, band_limit_hz, frames, chunk_samples
):
  path = tmp_path_factory.getbasetemp() / "bucket.wav"
  soundfile.write(path, np.full(frames, 0.5), rate_hz)
  x = read_audio(path, band_limit_hz=band_limit_hz, min_seconds=0).x
  # to the nearest sample, and never none at all
  assert abs(len(x) - max(1, frames * 32000 / rate_hz)) <= 0.5
  padded = pad_to_chunks(x, chunk_samples)
  chunks = count_chunks(path, chunk_samples=chunk_samples, min_seconds=0)
  assert len(padded) == chunks * chunk_samples
  np.testing.assert_array_equal(padded[: len(x)], x)
  assert len(padded) - len(x) < chunk_samples and not padded[len(x) :].any()


@pytest.mark.parametrize(
  "frames, rate_hz, samples",
  [(1, 96000, 1), (3, 64000, 2), (4, 48000, 3), (9, 8000, 36)],
)
def test_halves_are_rounded_up_and_one_sample_is_left(frames, rate_hz, samples):
  assert frames_after_resampling(frames, rate_hz, 32000) == samples


@pytest.mark.parametrize("samples, chunks", [(65535, 1), (65536, 1), (65537, 2)])
def test_buckets_at_the_boundary(tmp_path, samples, chunks):
  path = tmp_path / "a.wav"
  soundfile.write(path, np.full(samples, 0.5), 32000)
  assert count_chunks(path) == chunks
  assert len(pad_to_chunks(read_audio(path).x)) == chunks * 65536


def test_another_output_rate(tmp_path):
  path = tmp_path / "a.wav"
  soundfile.write(path, sine(1000, 44100, 1), 44100)
  x = read_audio(path, sample_rate_hz=16000).x
  assert len(x) == 16000 == frames_after_resampling(44100, 44100, 16000)
  assert amplitude(x, 1000, 16000) == pytest.approx(0.5, rel=1e-3)
  assert count_chunks(path, sample_rate_hz=16000, chunk_samples=4000) == 4


def test_half_a_minute_at_96_khz_in_stereo(tmp_path):
  path = tmp_path / "a.wav"
  x = sine(440, 96000, 30)
  soundfile.write(path, np.stack([x, x], 1), 96000, "PCM_24")
  audio = read_audio(path)
  assert len(audio.x) == 960000 and count_chunks(path) == 15
  assert amplitude(audio.x, 440, 32000) == pytest.approx(0.5, rel=1e-3)


def write_cut(path: Path, keep: float, **options) -> None:
  noise = np.random.default_rng(2).uniform(-0.5, 0.5, 20000)
  soundfile.write(path, noise, 32000, **options)
  whole = path.read_bytes()
  path.write_bytes(whole[: int(len(whole) * keep)])


def write_samples(path: Path, *values: float, frames: int = 4000) -> None:
  x = np.full((frames, len(values)), 0.1)
  x[frames // 2 :] = values
  soundfile.write(path, x, 32000, "FLOAT")


BAD_FILES = {
  "missing": ("a.wav", lambda path: None, "missing"),
  "folder": ("a.wav", lambda path: path.mkdir(), "not a file"),
  "empty": ("a.wav", lambda path: path.write_bytes(b""), "empty file"),
  "text": ("a.wav", lambda path: path.write_text("not found\n" * 99), "not audio"),
  "few bytes": ("a.wav", lambda path: path.write_bytes(b"RIFF"), "not audio"),
  "raw": ("a.raw", lambda path: path.write_bytes(b"\1\2" * 999), "not audio"),
  "cut": ("a.wav", lambda path: write_cut(path, 0.7), "truncated: 12014 bytes fewer"),
  "cut by a byte": (
    "a.wav",
    lambda path: write_cut(path, 0.99999),
    "truncated: 1 byte",
  ),
  "cut float": ("a.wav", lambda p: write_cut(p, 0.5, subtype="FLOAT"), "truncated"),
  "cut to its header": ("a.wav", lambda path: write_cut(path, 0.0011), "truncated"),
  "cut flac": ("a.flac", lambda path: write_cut(path, 0.7), "truncated or damaged"),
  "no frames": ("a.wav", lambda p: soundfile.write(p, np.zeros(0), 32000), "0 frames"),
  "nan": ("a.wav", lambda path: write_samples(path, np.nan), "NaN"),
  "inf": ("a.wav", lambda path: write_samples(path, np.inf, -np.inf), "infinite"),
  "silent": ("a.wav", lambda p: soundfile.write(p, np.zeros(4000), 32000), "silent"),
  "10 ms": ("a.wav", lambda p: write_samples(p, 0.5, frames=320), "too short: 0.01 s"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(tmp_path, kind):
  name, make, words = BAD_FILES[kind]
  make(tmp_path / name)
  with pytest.raises(BadClip) as caught:
    read_audio(tmp_path / name)
  assert words in caught.value.reason
  # one short sentence, without the path: rows already name the clip
  assert len(caught.value.reason) < 80 and str(tmp_path) not in caught.value.reason
  if words in ("missing", "empty file", "not audio", "0 frames") or "bytes" in words:
    with pytest.raises(BadClip, match=words):
      count_chunks(tmp_path / name)


def test_channels_that_cancel_are_silent(tmp_path):
  path = tmp_path / "a.wav"
  x = sine(100, 32000, 0.5)
  soundfile.write(path, np.stack([x, -x], 1), 32000, "FLOAT")
  with pytest.raises(BadClip, match="silent"):
    read_audio(path)


def test_a_clip_that_resampling_silences(tmp_path):
  path = tmp_path / "a.wav"
  soundfile.write(path, np.resize(np.float32([1e-44, -1e-44]), 9600), 96000, "FLOAT")
  with pytest.raises(BadClip, match="silent after resampling"):
    read_audio(path)


def test_the_shortest_clip_is_a_parameter(tmp_path):
  path = tmp_path / "a.wav"
  soundfile.write(path, sine(1000, 32000, 0.01), 32000)
  assert len(read_audio(path, min_seconds=0.01).x) == 320
  with pytest.raises(BadClip, match=r"at least 0\.011 s"):
    read_audio(path, min_seconds=0.011)


@pytest.mark.parametrize("announced", [0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_is_not_truncated(tmp_path, announced):
  path = tmp_path / "a.wav"
  x = sine(1000, 32000, 0.5)
  soundfile.write(path, x, 32000)
  streamed = bytearray(path.read_bytes())
  assert streamed[36:40] == b"data"
  streamed[40:44] = struct.pack("<I", announced)
  path.write_bytes(streamed)
  assert np.abs(read_audio(path).x - x).max() < 1e-4


def test_chunks_before_and_after_the_samples_are_read_over(tmp_path):
  path = tmp_path / "a.wav"
  x = sine(1000, 32000, 0.5)
  soundfile.write(path, x, 32000)
  plain = path.read_bytes()
  # of odd length, so with a byte of padding that the length doesn't count
  note = b"note" + struct.pack("<I", 5) + b"words\0"
  body = plain[12:36] + note + plain[36:] + note
  path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
  assert np.abs(read_audio(path).x - x).max() < 1e-4
  path.write_bytes(path.read_bytes()[: -len(note) - 2])
  with pytest.raises(BadClip, match="truncated: 2 bytes"):
    read_audio(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings in {SHARED}")
def test_real_recordings_against_librosa():
  paths = sorted((SHARED / "FSDKaggle2018.audio_test").glob("*.wav"))
  assert len(paths) >= 60
  for path in paths[::12]:
    x = read_audio(path).x
    theirs, _ = librosa.load(path, sr=32000)
    np.testing.assert_allclose(x, np.clip(theirs[: len(x)], -1, 1), atol=1e-6)
    assert count_chunks(path) == -(-len(x) // 65536)
