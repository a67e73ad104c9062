"""Features that Iqbal's networks were trained on (not the ones that are attacked).

Iqbal, Kong, Plumbley, Wang, General-purpose audio tagging from noisy labels using
convolutional neural networks, DCASE 2018, and the authors' code. The differentiable
front end of the attacks differs in framing and floor, and belongs to the models.
"""

import librosa
import numpy as np

# of the original's silence removal
_QUIET_DBFS = -48.0
_QUIET_TRANSIENT_DBFS = -56.0
_MIN_SILENCE_MS = 500
_KEEP_MS = 400
_ENVELOPE_SAMPLES = 1024
_ENVELOPE_DB = -30.0
_TRANSIENT_S = 0.5


def log_mel_chunks(
  x: np.ndarray,
  *,
  sample_rate_hz: int = 32000,
  n_fft: int = 1024,
  hop: int = 512,
  mels: int = 64,
  chunk_frames: int = 128,
) -> np.ndarray:
  """Log-mel of a clip in chunks: [samples] -> float32 [chunks, chunk_frames, mels].

  dB below the clip's own loudest mel cell, 10 log10 max(1e-10, S) - 10 log10 max S,
  without a floor. S: power spectrum (periodic Hann, centred frames, reflected ends)
  through Slaney's mel bands of equal area. samples // hop + 1 frames before chunking.
  """
  # padded here: librosa warns for clips shorter than n_fft, where reflecting more than
  # once is what it does anyway
  padded = np.pad(x, n_fft // 2, mode="reflect")
  spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=hop, center=False)
  bands = librosa.filters.mel(sr=sample_rate_hz, n_fft=n_fft, n_mels=mels)
  power = bands @ np.abs(spectrum) ** 2
  db = librosa.power_to_db(power, ref=np.max, amin=1e-10, top_db=None)
  return split_frames(np.asarray(db, np.float32).T, chunk_frames)


def split_frames(frames: np.ndarray, chunk_frames: int = 128) -> np.ndarray:
  """Frames in chunks of equal length: [frames, mels] -> [chunks, chunk_frames, mels].

  Too few for one chunk: padded at the end with their minimum. Less than a quarter of
  a chunk left over: cut off, half of it from either end. More: one chunk more, made of
  the last frames, which overlaps the one before.
  """
  q, r = divmod(len(frames), chunk_frames)
  if q == 0:
    end = ((0, chunk_frames - r), (0, 0))
    return np.pad(frames, end, constant_values=frames.min())[None]
  start = r // 2 if r < chunk_frames // 4 else 0
  whole = frames[start : start + q * chunk_frames]
  chunks = whole.reshape(q, chunk_frames, *frames.shape[1:])
  if r < chunk_frames // 4:
    return chunks
  return np.concatenate([chunks, frames[None, -chunk_frames:]])


def remove_silence(x: np.ndarray, sample_rate_hz: int) -> list[np.ndarray]:
  """The parts of a clip that are not silent, in order: [samples] -> list of [samples].

  Silence: a window of 500 ms, moved by 1 ms, with an RMS of at most -48 dBFS, or -56
  dBFS for a clip of transients only. Each part keeps 400 ms on either side, so
  neighbours overlap where the silence is shorter than 800 ms. A clip of at most 800 ms
  comes back whole, and so does one that is silent throughout. Cuts lie on whole ms.

  As pydub 0.22's split_on_silence does it on 16-bit samples (its RMS is rounded down
  to a step of 1/32768). Left out: dropping short segments, which the original never
  does because it compares seconds with milliseconds; and writing files.
  """
  if len(x) <= 2 * _KEEP_MS * sample_rate_hz / 1000:
    return [x]
  quiet_dbfs = (
    _QUIET_TRANSIENT_DBFS if _is_transients(x, sample_rate_hz) else _QUIET_DBFS
  )
  length_ms = round(1000 * len(x) / sample_rate_hz)
  # first sample of each millisecond; the last one may lie past the end
  edges = np.arange(length_ms + 1) * sample_rate_hz // 1000
  edges = np.minimum(edges, len(x))
  energy = np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64))])[edges]
  energy = energy[_MIN_SILENCE_MS:] - energy[:-_MIN_SILENCE_MS]
  count = edges[_MIN_SILENCE_MS:] - edges[:-_MIN_SILENCE_MS]
  # a difference of cumulative sums can end a hair below 0
  rms = np.floor(32768 * np.sqrt(np.maximum(energy, 0) / count))
  silent_ms = np.flatnonzero(rms <= 32768 * 10 ** (quiet_dbfs / 20))
  segments = []
  for start_ms, end_ms in _loud_ranges(silent_ms, length_ms):
    first, last = max(0, start_ms - _KEEP_MS), min(length_ms, end_ms + _KEEP_MS)
    segments.append(x[edges[first] : edges[last]])
  return segments or [x]


def _loud_ranges(silent_ms: np.ndarray, length_ms: int) -> list[tuple[int, int]]:
  """What windows of silence that start at `silent_ms` leave of [0, length_ms]."""
  if not len(silent_ms):
    return [(0, length_ms)]
  # windows further apart than their own length don't belong to the same silence
  breaks = np.flatnonzero(np.diff(silent_ms) > _MIN_SILENCE_MS)
  starts = silent_ms[np.concatenate([[0], breaks + 1])]
  ends = silent_ms[np.concatenate([breaks, [-1]])] + _MIN_SILENCE_MS
  loud = zip([0, *ends.tolist()], [*starts.tolist(), length_ms], strict=True)
  return [(start, end) for start, end in loud if start < end]


def _is_transients(x: np.ndarray, sample_rate_hz: int) -> bool:
  """Whether the moving average of |x| stays above -30 dB of its peak for under 0.5 s
  at a time. A run that lasts to the end of the clip doesn't count, as in the original.
  """
  sums = np.concatenate([[0.0], np.cumsum(np.abs(x), dtype=np.float64)])
  envelope = sums[_ENVELOPE_SAMPLES:] - sums[:-_ENVELOPE_SAMPLES]
  above = envelope > envelope.max(initial=0) * 10 ** (_ENVELOPE_DB / 20)
  edges = np.diff(above.astype(np.int8), prepend=0)
  starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
  if not len(ends):
    return True
  # the original counts from the last sample below, so a run is never shorter than this
  runs = ends - starts[: len(ends)]
  return bool(runs.max() / sample_rate_hz < _TRANSIENT_S)
