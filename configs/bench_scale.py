"""Time of an example, and memory, as examples, lanes, devices and lengths grow.

python experiments/bench.py --config=configs/bench_scale.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "scale",
      "workdir": "runs/bench_scale",
      "seed": 0,
      "steps": 4,
      "grows": {
        # of these two, the one before the last is what the others are measured at
        "examples": (1, 10, 100, 1000, 10000),
        "lanes": (1, 2, 4, 8, 16, 32),
        "devices": (1, 2, 4),
        "chunks": (1, 2, 4, 8),  # of 65,536 samples, in a clip
      },
      "model": {
        "frontend": "log_mel_attack",
        "network": "vgg13",
        "width": 0.0625,
        "bn_momentum": 0.99,
        "options": {},
      },
    }
  )
