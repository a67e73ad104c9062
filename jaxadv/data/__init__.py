"""The numpy stage: from a folder of recordings to padded waveforms and features.

Runs on the host, in threads or worker processes, ahead of the device. Nothing here
imports jax.
"""

from jaxadv.data.audio import (
  Audio,
  BadClip,
  count_chunks,
  frames_after_resampling,
  pad_to_chunks,
  read_audio,
)
from jaxadv.data.features import log_mel_chunks, remove_silence
from jaxadv.data.fsdkaggle import CLASSES, Clip, Dataset, read_dataset
from jaxadv.data.pipeline import Loaded, by_bucket, load, usable

__all__ = [
  "CLASSES",
  "Audio",
  "BadClip",
  "Clip",
  "Dataset",
  "Loaded",
  "by_bucket",
  "count_chunks",
  "frames_after_resampling",
  "load",
  "log_mel_chunks",
  "pad_to_chunks",
  "read_audio",
  "read_dataset",
  "remove_silence",
  "usable",
]
