"""A config of a user's own: one transform of ours, one random, two of the user's."""

from pathlib import Path

from ml_collections import ConfigDict

HERE = Path(__file__)


def reverse(x):
  return x[::-1]


def fails_when_long(x):
  if len(x) > 32000:
    raise ValueError("too long for me")
  return x


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "",
      "seed": 0,
      "sources": "",
      "victims": "",
      "only": "",
      "examples": "successes",
      "wavs": "wav",
      "transforms": {
        "half": {"transform": "gain", "gain_db": -6.0205999},
        "noise_10": {"transform": "noise", "snr_db": 10.0},
        "backwards": {"transform": "user", "function": f"{HERE}:reverse"},
        "broken": {"transform": "user", "function": f"{HERE}:fails_when_long"},
      },
      "runtime": {"threads": 2, "processes": 0, "batch_chunks": 4},
    }
  )
