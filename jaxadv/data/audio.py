"""One recording: decode, mix to mono, resample, pad; or why it can't be used.

The number of samples follows from the header alone, so that clips can be sorted into
buckets of equal length before any of them is decoded.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 32000
CHUNK_SAMPLES = 65536
MIN_SECONDS = 0.05

# Writers that stream into a pipe can't know the length and put a huge one into the
# header: 0xFFFFFFFF (ffmpeg, and RF64), 0x7FFFF000 and the like (sox)
_UNKNOWN_BYTES = 0x7FFFF000
# libsndfile's word for an unknown length is 2**63 - 1
_UNKNOWN_FRAMES = 2**62


class Audio(NamedTuple):
  """Mono waveform, float32 [samples] in [-1, 1], and what was done to get it."""

  x: np.ndarray
  notes: tuple[str, ...]


class BadClip(Exception):
  """A recording that can't be used; `reason` is one short sentence."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


class _Header(NamedTuple):
  frames: int
  sample_rate_hz: int


def read_audio(
  path: str | Path,
  *,
  sample_rate_hz: int = SAMPLE_RATE_HZ,
  band_limit_hz: int = 0,
  min_seconds: float = MIN_SECONDS,
) -> Audio:
  """A recording as a mono waveform at `sample_rate_hz`, within [-1, 1].

  Channels are averaged. Resampling is soxr's HQ, as in librosa.load. `band_limit_hz`
  > 0 is the RATE to which the clip is resampled first, so that nothing is left above
  half of it: 22050 is how the recordings of Subramanian, Benetos, Sandler (DCASE 2019)
  were loaded. A mono mix that leaves [-1, 1] is clipped, with a note; the overshoot
  that resampling adds to a loud clip is clipped without one. [frames_after_resampling].

  Raises BadClip for a file that is missing, empty, not audio, truncated, silent or
  shorter than `min_seconds`, and for samples that are NaN or infinite.
  """
  header = _read_header(Path(path), min_seconds)
  channels = _decode(Path(path), header)
  x = channels.mean(axis=1)
  if not x.any():
    raise BadClip("silent: every sample of the mono mix is 0")
  notes = []
  if channels.shape[1] > 1:
    notes.append(f"{channels.shape[1]} channels mixed to mono")
  peak = float(np.abs(x).max())
  if peak > 1:
    notes.append(f"clipped to [-1, 1]: peak {peak:.3g}")
  rate_hz = header.sample_rate_hz
  for next_hz in (band_limit_hz, sample_rate_hz):
    if next_hz and next_hz != rate_hz:
      x, rate_hz = soxr.resample(x, rate_hz, next_hz, quality="HQ"), next_hz
  if len(x) and not x.any():  # of one frame soxr may leave none
    raise BadClip("silent after resampling: nothing is left in so narrow a band")
  announced = frames_after_resampling(*header, sample_rate_hz)
  # two resamplings round twice; the bucket was chosen from the header
  x = np.pad(x[:announced], (0, max(0, announced - len(x))))
  return Audio(np.clip(x, -1, 1).astype(np.float32, copy=False), tuple(notes))


def frames_after_resampling(
  frames: int, source_rate_hz: int, sample_rate_hz: int
) -> int:
  """Samples that read_audio returns: frames * rate / source rate, halves rounded up,
  which is soxr's own rule; at least 1."""
  return max(1, (2 * frames * sample_rate_hz + source_rate_hz) // (2 * source_rate_hz))


def count_chunks(
  path: str | Path,
  *,
  sample_rate_hz: int = SAMPLE_RATE_HZ,
  chunk_samples: int = CHUNK_SAMPLES,
  min_seconds: float = MIN_SECONDS,
) -> int:
  """Chunks that pad_to_chunks(read_audio(path).x) fills, from the header alone.

  Raises BadClip for what the header gives away: not for silence, NaN, or damaged FLAC.
  """
  header = _read_header(Path(path), min_seconds)
  return -(-frames_after_resampling(*header, sample_rate_hz) // chunk_samples)


def pad_to_chunks(x: np.ndarray, chunk_samples: int = CHUNK_SAMPLES) -> np.ndarray:
  """x with zeros at its end up to a multiple: [samples] -> [chunks * chunk_samples]."""
  return np.pad(x, (0, -len(x) % chunk_samples))


def _read_header(path: Path, min_seconds: float) -> _Header:
  try:
    size_bytes = os.stat(path).st_size
    if not path.is_file():
      raise BadClip("not a file")
    if size_bytes == 0:
      raise BadClip("empty file (0 bytes)")
    # libsndfile shortens a truncated WAV without a word, so look for ourselves
    lost_bytes = _lost_wav_bytes(path, size_bytes)
    # TypeError: soundfile wants a sample rate for names that end in .raw
    info = soundfile.info(str(path))
  except FileNotFoundError:
    raise BadClip("missing file") from None
  except OSError as error:
    raise BadClip(f"can't be opened: {error.strerror}") from error
  except (soundfile.SoundFileError, TypeError) as error:
    raise BadClip("not audio: libsndfile doesn't know this format") from error
  if lost_bytes:
    raise BadClip(f"truncated: {lost_bytes} bytes fewer than its header announces")
  if info.frames <= 0:
    raise BadClip("no samples: 0 frames")
  if info.frames > _UNKNOWN_FRAMES:
    raise BadClip("its header doesn't say how long it is")
  seconds = info.frames / info.samplerate
  if seconds < min_seconds:
    raise BadClip(f"too short: {seconds:.3g} s, at least {min_seconds:g} s are needed")
  return _Header(info.frames, info.samplerate)


def _lost_wav_bytes(path: Path, size_bytes: int) -> int:
  """Bytes of audio that a WAV's data chunk announces and the file doesn't have."""
  with path.open("rb") as file:
    riff, _, wave = struct.unpack("4s4s4s", file.read(12).ljust(12))
    if riff not in (b"RIFF", b"RIFX") or wave != b"WAVE":
      return 0
    order = "<" if riff == b"RIFF" else ">"
    while len(head := file.read(8)) == 8:
      name, length = struct.unpack(f"{order}4sI", head)
      if name == b"data":
        announced = 0 if length >= _UNKNOWN_BYTES else length
        return max(0, file.tell() + announced - size_bytes)
      # chunks start at even offsets
      file.seek(length + length % 2, os.SEEK_CUR)
  return 0


def _decode(path: Path, header: _Header) -> np.ndarray:
  """float32 [frames, channels], all of them and all finite."""
  try:
    channels, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
  except (soundfile.SoundFileError, OSError) as error:
    raise BadClip("truncated or damaged: decoding it failed") from error
  if len(channels) < header.frames:
    raise BadClip(
      f"truncated: {len(channels)} of the {header.frames} frames that it announces"
    )
  if not np.isfinite(channels).all():
    raise BadClip("samples that are NaN or infinite")
  return channels
