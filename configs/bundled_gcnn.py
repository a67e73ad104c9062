"""A narrow GCNN on the bundled recordings, trained in a few minutes on 2 CPU cores.

python experiments/train.py --config=configs/bundled_gcnn.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/bundled_gcnn",
      "seed": 0,
      "data": {
        "root": "bundled",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
        "remove_silence": False,
      },
      "model": {
        "frontend": "log_mel_attack",
        "network": "gcnn",
        "width": 0.125,
        # few steps in all: the running mean must keep up (0.99 in the paper's)
        "bn_momentum": 0.9,
      },
      "train": {
        "features": "log_mel_attack",
        "batch": 32,
        "epochs": 40,
        "learning_rate": 2e-3,
        "decay": 0.9,
        "decay_every_epochs": 2,
        "mixup_alpha": 1.0,
        "folds": 5,
      },
      "runtime": {"threads": 4, "processes": 0, "checkpoint_every_epochs": 10},
    }
  )
