"""The pipeline against a plain loop: order, bytes, bad clips, an early end."""

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jaxadv.data import pipeline
from jaxadv.data.audio import pad_to_chunks, read_audio
from jaxadv.data.fsdkaggle import Clip, read_dataset
from jaxadv.data.pipeline import by_bucket, load

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "FSDKaggle2018"


def write_clips(folder: Path) -> list[Clip]:
  """Ten clips of 4000 to 40000 samples, long ones first; 3 and 7 are bad."""
  rng = np.random.default_rng(3)
  clips = []
  for number in range(10):
    path = folder / f"{number}.wav"
    channels = 1 + number % 2
    x = rng.uniform(-0.5, 0.5, (4000 * (10 - number), channels))
    soundfile.write(path, x, 44100 if number % 2 else 32000)
    clips.append(Clip(100 + number, path.name, path, number % 3, True))
  clips[3].path.write_text("404 not found")
  # its header is good, so only decoding finds out
  soundfile.write(clips[7].path, np.zeros(12000), 32000)
  return clips


@pytest.fixture
def clips(tmp_path):
  return write_clips(tmp_path)


OPTIONS = {
  "no threads": {"threads": 0},
  "1 thread": {"threads": 1},
  "4 threads": {"threads": 4},
  "small buffer": {"threads": 2, "buffer": 2},
  "2 processes": {"threads": 2, "processes": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_clips_in_the_same_order(clips, options):
  loaded = list(load(clips, band_limit_hz=22050, chunk_samples=1000, **options))
  assert [one.clip for one in loaded] == clips
  for one in loaded:
    if one.clip.index in (103, 107):
      assert (one.x, one.samples, one.notes) == (None, 0, ())
      assert ("not audio" if one.clip.index == 103 else "silent") in one.skipped
      continue
    audio = read_audio(one.clip.path, band_limit_hz=22050)
    assert one.skipped == "" and one.notes == audio.notes
    assert type(one.x) is np.ndarray and one.x.dtype == np.float32
    assert one.samples == len(audio.x) and len(one.x) % 1000 == 0
    assert one.x.tobytes() == pad_to_chunks(audio.x, 1000).tobytes()

  if options.get("processes") and Path("/proc/self/maps").exists():
    # grain frees shared memory in a thread of its own
    deadline = time.monotonic() + 5
    while mapped_shared_memory() and time.monotonic() < deadline:
      time.sleep(0.05)
    assert not mapped_shared_memory()


def mapped_shared_memory() -> list[str]:
  maps = Path("/proc/self/maps").read_text()
  return [line for line in maps.splitlines() if "/psm_" in line]


def test_rate_and_chunk_reach_the_recording(clips):
  (one,) = load(clips[:1], sample_rate_hz=8000, chunk_samples=6000)
  assert one.samples == 10000 and one.x is not None and one.x.shape == (12000,)


def test_no_clips():
  assert list(load([])) == []
  assert by_bucket([]) == []


def test_only_a_buffer_is_read_ahead(clips, monkeypatch):
  read = []

  def read_and_count(path, **options):
    read.append(path)
    return read_audio(path, **options)

  monkeypatch.setattr(pipeline, "read_audio", read_and_count)
  loaded = load([clips[0]] * 200, threads=2, buffer=4)
  for _ in range(10):
    next(loaded)
  assert 10 <= len(read) <= 10 + 4
  loaded.close()


def test_memory_stays_flat(clips):
  def peak_bytes(count: int) -> int:
    tracemalloc.start()
    for _ in load([clips[0]] * count, threads=2, buffer=4, chunk_samples=65536):
      pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak

  # one waveform is 256 KiB, so keeping them all would add 30 MiB
  assert peak_bytes(150) < peak_bytes(30) + 2**21


EARLY_END = """
import sys
from pathlib import Path
from jaxadv.data import Clip, load
if __name__ == "__main__":
  path = Path(sys.argv[1])
  loaded = load([Clip(i, "", path, 0, True) for i in range(50)], processes=1)
  print(next(loaded).samples, flush=True)
  raise SystemExit("on purpose")
"""


def test_a_script_that_ends_early_ends_its_workers_quietly(tmp_path, clips):
  script = tmp_path / "script.py"
  script.write_text(EARLY_END)
  command = [sys.executable, str(script), str(clips[0].path)]
  done = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert done.stdout == "40000\n"
  # neither tracebacks of grain's nor leaked shared memory
  assert done.stderr.strip() == "on purpose"


def test_buckets(clips):
  # chunks of 10000 samples, from the headers: 40000, 36000 at 44.1 kHz, 32000, ...
  found = by_bucket(clips, chunk_samples=10000)
  assert [(chunks, [clip.index - 100 for clip in kept]) for chunks, kept in found] == [
    (1, [3, 8, 9]),
    (2, [5, 6, 7]),
    (3, [1, 4]),
    (4, [0, 2]),
  ]


def test_clips_without_a_header_make_no_bucket_of_their_own(clips):
  found = by_bucket([clips[3], clips[0], clips[2]], chunk_samples=10000)
  assert found == [(4, (clips[3], clips[0], clips[2]))]
  assert by_bucket([clips[3]]) == [(1, (clips[3],))]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings in {SHARED}")
def test_real_recordings_fill_their_buckets():
  clips = read_dataset(SHARED, "test").clips
  buckets = by_bucket(clips)
  assert len(buckets) > 2 and sum(len(kept) for _, kept in buckets) == len(clips)
  for chunks, kept in buckets:
    for one in load(kept[:4], threads=2):
      assert one.skipped == "" and one.x is not None
      assert one.x.shape == (chunks * 65536,) and np.abs(one.x).max() > 0
      assert (chunks - 1) * 65536 < one.samples <= chunks * 65536
