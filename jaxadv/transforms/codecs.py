"""Lossy codecs: encoded and decoded again in memory, aligned to the sample.

MP3, AAC and Opus go through ffmpeg's libraries (PyAV), Ogg Vorbis through libsndfile:
PyAV's wheels have no Vorbis encoder for one channel since version 17.1. Samples are
floats on both sides, never rounded to 16 bits; a decoder may overshoot [-1, 1].
"""

import io
from functools import partial
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from jaxadv.errors import InputError
from jaxadv.transforms.transform import (
  SAMPLE_RATE_HZ,
  Draws,
  Transform,
  no_draws,
  require,
)


class Codec(NamedTuple):
  """container, demuxer: what ffmpeg calls the file when it writes and reads it.

  delay_samples: what the decoder leaves of the encoder's delay at the start.
  """

  encoder: str
  container: str
  demuxer: str  # left to guess, ffmpeg misses one in 50 files of a few frames
  rate_hz: int = SAMPLE_RATE_HZ
  delay_samples: int = 0


# MP3: the container's LAME header says what to skip; Opus: its own header does. ADTS
# says nothing, and ffmpeg's AAC encoder starts one frame early
MP3 = Codec("libmp3lame", "mp3", "mp3")
AAC = Codec("aac", "adts", "aac", delay_samples=1024)
OPUS = Codec("libopus", "ogg", "ogg", rate_hz=48000)

# MPEG-1 layer III, the layer's form at 32 kHz: ISO/IEC 11172-3, section 2.4.2.3
MP3_KBIT = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def mp3(bitrate_kbit: int = 128) -> Transform:
  """MP3 at a constant bit rate: libmp3lame at ffmpeg's defaults, and back.

  Encoder and decoder delay are taken out. P0 used 48, 128 and 320 kbit/s.
  Subramanian et al., Robustness of Adversarial Attacks in Sound Event Classification,
  DCASE 2019, section 2.2.
  """
  rates = ", ".join(map(str, MP3_KBIT))
  require(bitrate_kbit in MP3_KBIT, "bitrate_kbit", bitrate_kbit, f"one of {rates}")
  return _through_ffmpeg("mp3", MP3, bitrate_kbit)


def aac(bitrate_kbit: int = 64) -> Transform:
  """AAC-LC about this bit rate: ffmpeg's own encoder, and back."""
  # 6144 bits a channel and frame of 1024 samples: ISO/IEC 14496-3, section 4.5.3
  _require_between(bitrate_kbit, 16, 192)
  return _through_ffmpeg("aac", AAC, bitrate_kbit)


def opus(bitrate_kbit: int = 48) -> Transform:
  """Opus about this bit rate: libopus at 48 kHz, and back to 32 kHz (soxr VHQ).

  Below about 64 kbit/s (SILK) what comes back is 0.25 samples early, and low
  frequencies more: the codec's high-pass.
  """
  _require_between(bitrate_kbit, 6, 256)
  return _through_ffmpeg("opus", OPUS, bitrate_kbit)


def vorbis(quality: float = 5.0) -> Transform:
  """Ogg Vorbis: libvorbis through libsndfile, and back.

  quality: 0 to 10, the scale of oggenc -q; the bit rate follows from it (libsndfile has
  no other control).
  """
  require(0 <= quality <= 10, "quality", quality, "0 to 10")
  if "VORBIS" not in soundfile.available_subtypes("OGG"):
    raise InputError("this libsndfile has no Vorbis: install a newer soundfile")
  return Transform(
    f"vorbis quality {quality:g}",
    no_draws,
    partial(transcode_vorbis, quality=float(quality)),
  )


def _require_between(bitrate_kbit: int, low: int, high: int):
  expected = f"{low} to {high} kbit/s"
  require(low <= bitrate_kbit <= high, "bitrate_kbit", bitrate_kbit, expected)


def _through_ffmpeg(name: str, codec: Codec, bitrate_kbit: int) -> Transform:
  _require_encoder(codec.encoder)
  return Transform(
    f"{name} {bitrate_kbit} kbit/s",
    no_draws,
    partial(transcode, codec=codec, bitrate_kbit=bitrate_kbit),
  )


def _require_encoder(encoder: str):
  try:
    import av
  except ImportError as error:
    raise InputError(f"PyAV is missing ({error}): pip install av") from error
  try:
    av.Codec(encoder, "w")
  except ValueError as error:
    raise InputError(
      f"this PyAV has no encoder {encoder}: pip install a binary wheel of av"
    ) from error


def transcode(
  x: np.ndarray, draws: Draws, codec: Codec, bitrate_kbit: int
) -> np.ndarray:
  """x encoded and decoded by ffmpeg's libraries. [samples] -> [samples]."""
  del draws
  at_rate = _resample(x, SAMPLE_RATE_HZ, codec.rate_hz)
  file = io.BytesIO()
  _encode(at_rate, file, codec, bitrate_kbit)
  y = _decode(file, codec)[codec.delay_samples :]
  return _fit(_resample(_fit(y, len(at_rate)), codec.rate_hz, SAMPLE_RATE_HZ), len(x))


def _encode(x: np.ndarray, file: io.BytesIO, codec: Codec, bitrate_kbit: int):
  import av

  with av.open(file, "w", format=codec.container) as container:
    stream = container.add_stream(codec.encoder, rate=codec.rate_hz, layout="mono")
    assert isinstance(stream, av.AudioStream)
    stream.bit_rate = 1000 * bitrate_kbit
    frame = av.AudioFrame.from_ndarray(x[None], format="fltp", layout="mono")
    frame.sample_rate = codec.rate_hz
    for part in (frame, None):  # None: flush
      container.mux(stream.encode(part))


def _decode(file: io.BytesIO, codec: Codec) -> np.ndarray:
  import av

  file.seek(0)
  with av.open(file, "r", format=codec.demuxer) as container:
    return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])


def _resample(x: np.ndarray, rate_hz: int, new_rate_hz: int) -> np.ndarray:
  return x if rate_hz == new_rate_hz else soxr.resample(x, rate_hz, new_rate_hz, "VHQ")


def _fit(y: np.ndarray, samples: int) -> np.ndarray:
  # the last frame of a codec is longer than what was put in
  return np.pad(y[:samples], (0, max(0, samples - len(y))))


def transcode_vorbis(x: np.ndarray, draws: Draws, quality: float) -> np.ndarray:
  """x encoded and decoded by libvorbis. [samples] -> [samples]."""
  del draws
  file = io.BytesIO()
  form = {"format": "OGG", "subtype": "VORBIS", "compression_level": 1 - quality / 10}
  with soundfile.SoundFile(file, "w", SAMPLE_RATE_HZ, 1, **form) as ogg:
    # libsndfile 1.2 overflows its stack if it is given minutes at once
    for start in range(0, len(x), SAMPLE_RATE_HZ):
      ogg.write(x[start : start + SAMPLE_RATE_HZ])
  file.seek(0)
  return _fit(soundfile.read(file, dtype="float32")[0], len(x))
