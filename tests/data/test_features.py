"""Features against a restatement in plain numpy; chunk rules as a table; silence
against a slow restatement of pydub and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.data.features import log_mel_chunks, remove_silence, split_frames


def slaney_bands(rate_hz: int, n_fft: int, mels: int) -> np.ndarray:
  """Slaney's Auditory Toolbox: linear to 1 kHz, then 27 steps to a factor 6.4."""

  def to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))

  top = 15 + 27 * np.log(rate_hz / 2 / 1000) / np.log(6.4)
  corners = to_hz(np.linspace(0, top, mels + 2))
  bins = np.arange(n_fft // 2 + 1) * rate_hz / n_fft
  bands = np.zeros((mels, len(bins)))
  for m, (low, mid, high) in enumerate(
    zip(corners[:-2], corners[1:-1], corners[2:], strict=True)
  ):
    ramp = np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid))
    bands[m] = np.maximum(ramp, 0) * 2 / (high - low)
  return bands


def plain_log_mel(x: np.ndarray) -> np.ndarray:
  """A1a before chunking, with np.fft in float64: [samples] -> [frames, 64]."""
  # reflection at both ends, as often as needed, as a triangle wave over positions
  period = max(1, 2 * len(x) - 2)
  where = np.arange(-512, len(x) + 512) % period
  padded = x.astype(np.float64)[np.minimum(where, period - where)]
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
  frames = np.stack(
    [padded[512 * t : 512 * t + 1024] * hann for t in range(len(x) // 512 + 1)]
  )
  power = np.abs(np.fft.rfft(frames)) ** 2 @ slaney_bands(32000, 1024, 64).T
  return 10 * np.log10(np.maximum(1e-10, power)) - 10 * np.log10(power.max())


@pytest.mark.parametrize("samples", [1, 2, 300, 511, 512, 513, 1500, 40000, 65536])
def test_log_mel_in_plain_numpy(samples):
  rng = np.random.default_rng(samples)
  x = (rng.normal(size=samples) * np.exp(-np.arange(samples) / 9000)).astype(np.float32)
  x += 0.1
  chunks = log_mel_chunks(x)
  expected = plain_log_mel(x)
  assert chunks.dtype == np.float32 and chunks.shape[1:] == (128, 64)
  assert len(expected) == samples // 512 + 1
  if len(expected) == 129:
    # the one frame over is cut off at the end: 1 // 2 == 0 at the start
    expected = expected[:128]
  np.testing.assert_allclose(chunks[0, : len(expected)], expected, atol=5e-3)
  np.testing.assert_allclose(chunks[0, len(expected) :], expected.min(), atol=5e-3)
  assert chunks.max() == pytest.approx(0, abs=1e-4)


def test_a_clip_has_no_floor_and_no_level():
  # half of it is 140 dB down, far below librosa's usual floor of 80 dB
  x = np.random.default_rng(0).normal(size=60000).astype(np.float32) * 0.1
  x[30000:] *= 1e-7
  chunks = log_mel_chunks(x)
  assert -105 < chunks.min() < -95
  # louder by 12 dB is the same, above the absolute floor of 1e-10, which is 12 dB lower
  np.testing.assert_allclose(log_mel_chunks(4 * x)[0, :50], chunks[0, :50], atol=1e-3)
  assert log_mel_chunks(4 * x).min() - chunks.min() == pytest.approx(-12.04, abs=0.01)


def test_silence_is_finite():
  np.testing.assert_array_equal(log_mel_chunks(np.zeros(9000, np.float32)), 0)


# frames -> the frame at which each chunk starts
CHUNKS = {
  128: [0],
  129: [0],
  131: [1],
  159: [15],
  160: [0, 32],
  255: [0, 127],
  256: [0, 128],
  287: [15, 143],
  288: [0, 128, 160],
  400: [8, 136, 264],
  416: [0, 128, 256, 288],
}


@pytest.mark.parametrize("frames", CHUNKS)
def test_chunk_rules(frames):
  numbered = np.arange(frames)[:, None] * np.ones(3)
  chunks = split_frames(numbered)
  starts = CHUNKS[frames]
  assert chunks.shape == (len(starts), 128, 3)
  for chunk, start in zip(chunks, starts, strict=True):
    np.testing.assert_array_equal(chunk, numbered[start : start + 128])


@pytest.mark.parametrize("frames", [1, 31, 32, 127])
def test_less_than_a_chunk_is_padded_with_its_minimum(frames):
  x = np.random.default_rng(0).normal(size=(frames, 3))
  (chunk,) = split_frames(x)
  np.testing.assert_array_equal(chunk[:frames], x)
  assert (chunk[frames:] == x.min()).all() and len(chunk) == 128


RATE_HZ = 8000


def noise(seconds: float, peak: float, seed: int = 0) -> np.ndarray:
  # whole milliseconds, which is what pydub cuts to
  samples = round(seconds * 1000) * RATE_HZ // 1000
  x = np.random.default_rng(seed).uniform(-peak, peak, samples)
  return x.astype(np.float32)


def join(*parts: tuple[float, float]) -> np.ndarray:
  return np.concatenate([noise(*part, seed) for seed, part in enumerate(parts)])


def slow_segments(x: np.ndarray, threshold_dbfs: float) -> list[np.ndarray]:
  """pydub's detect_silence and split_on_silence, millisecond by millisecond."""
  per_ms, length = RATE_HZ // 1000, round(1000 * len(x) / RATE_HZ)
  limit = 32768 * 10 ** (threshold_dbfs / 20)
  silent = np.zeros(length, bool)
  last = None
  for start in range(length - 499):
    window = x[start * per_ms : (start + 500) * per_ms].astype(np.float64) * 32768
    if int(np.sqrt(np.mean(window**2))) <= limit:
      if last is not None and start - last <= 500:
        silent[last : start + 500] = True
      silent[start : start + 500] = True
      last = start
  edges = np.diff(np.concatenate([[0], ~silent, [0]]).astype(int))
  return [
    x[max(0, start - 400) * per_ms : (end + 400) * per_ms]
    for start, end in zip(
      np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True
    )
  ]


def assert_same_segments(found, expected):
  assert [len(one) for one in found] == [len(one) for one in expected]
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(one, other)


def test_silence_between_two_sounds():
  x = join((1, 0.5), (2, 0), (1.5, 0.5))
  first, second = remove_silence(x, RATE_HZ)
  # 400 ms are kept, and a window's RMS is above -48 dBFS from less than 1 ms of sound
  assert abs(len(first) - 1.4 * RATE_HZ) <= 16
  assert abs(len(second) - 1.9 * RATE_HZ) <= 16
  np.testing.assert_array_equal(first, x[: len(first)])
  np.testing.assert_array_equal(second, x[-len(second) :])


def test_neighbours_overlap_where_the_silence_is_short():
  x = join((1, 0.5), (0.6, 0), (1, 0.5))
  found = remove_silence(x, RATE_HZ)
  assert len(found) == 2 and sum(map(len, found)) > len(x) + 0.19 * RATE_HZ


@pytest.mark.parametrize(
  "x, segments",
  [
    (join((0.1, 0.5), (0.69, 0)), 1),
    (join((3, 0)), 1),
    (join((3, 0.5)), 1),
    # 0.4 s without sound are no silence
    (join((1, 0.5), (0.4, 0), (1, 0.5)), 1),
    (join((1, 0.5), (0.9, 0), (1, 0.5)), 2),
  ],
  ids=["short", "silent", "loud", "short pause", "pause"],
)
def test_what_stays_whole(x, segments):
  found = remove_silence(x, RATE_HZ)
  assert len(found) == segments
  if segments == 1:
    np.testing.assert_array_equal(found[0], x)


def test_transients_have_a_lower_threshold():
  # a floor at -52 dBFS (uniform noise: RMS = peak / sqrt 3) is silence between long
  # sounds, and is kept between clicks
  floor = 10 ** (-52 / 20) * 3**0.5
  long = join((1, 0.5), (2, floor), (1, 0.5), (0.5, floor))
  assert len(remove_silence(long, RATE_HZ)) == 2
  clicks = join((0.1, 0.5), (2, floor), (0.1, 0.5), (0.5, floor))
  np.testing.assert_array_equal(remove_silence(clicks, RATE_HZ)[0], clicks)


def test_two_blips_are_swallowed_where_neither_is_a_sound():
  # each has 0.6 of the energy that a window of 500 ms may have, 1 ms apart: the silent
  # windows before and after them start 500 ms apart, which pydub still joins
  x = join((1, 0.5), (1.2, 0), (1, 0.5))
  x[[12800, 12808]] = (0.6 * 4000) ** 0.5 * 10 ** (-48 / 20)
  assert len(remove_silence(x, RATE_HZ)) == 2
  x[[12800, 12808]] *= 1.4
  assert len(remove_silence(x, RATE_HZ)) == 3


@pytest.mark.parametrize("level, segments", [(130.9, 2), (131.1, 1)])
def test_rms_counts_in_whole_steps_of_16_bits(level, segments):
  # -48 dBFS are 130.45 steps
  x = join((1, 0.5), (2, 0), (1, 0.5), (0.2, 0))
  x[RATE_HZ : 3 * RATE_HZ] = level / 32768
  assert len(remove_silence(x, RATE_HZ)) == segments


@settings(max_examples=15, deadline=None)
@given(
  st.lists(
    st.tuples(st.floats(0.05, 1.2), st.sampled_from([0, 0.002, 0.006, 0.5])),
    min_size=1,
    max_size=6,
  )
)
def test_silence_as_pydub_finds_it(parts):
  # a long sound and a low floor after it fix the threshold at -48 dBFS
  x = join((0.7, 0.5), (0.01, 0.5), *parts, (0.7, 0.5), (0.2, 0.002))
  assert_same_segments(remove_silence(x, RATE_HZ), slow_segments(x, -48))
