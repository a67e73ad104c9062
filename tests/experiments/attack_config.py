"""A config of a user's own: three attacks that are quick to compile."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "",
      "seed": 0,
      "victim": "",
      "data": {
        "root": "",
        "split": "test",
        "vocabulary": "any",
        "verified_only": False,
        "band_limit_hz": 0,
        "clips_per_class": 0,
        "classes": "",
      },
      "targets": "",
      "precision": "default",
      "attacks": {
        "white_noise": {
          "method": "white_noise",
          "norm": "l2",
          "radius": 20.0,
          "budget": "snr_db",
        },
        "pgd": {
          "method": "pgd",
          "norm": "linf",
          "radius": 40.0,
          "budget": "snr_db",
          "steps": 40,
          "goal": "strongest",
        },
        "deepfool": {"method": "deepfool", "norm": "l2"},
      },
      "runtime": {
        "threads": 2,
        "processes": 0,
        # one lane of one chunk: as many parts as clips
        "lane_chunks": 1,
        "chunk": 0,
        "guards": True,
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
        "only": "deepfool,pgd",
      },
    }
  )
