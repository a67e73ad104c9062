"""VGG13 at full width on FSDKaggle2018, as Iqbal et al. trained it (DCASE 2018 task 2).

One difference: it trains on the frontend that it is attacked through (BUILD.md, "Which
frontend to train on"). The original's own: --config.train.features=log_mel_train
--config.data.remove_silence=True.

python experiments/train.py --config=configs/fsdkaggle2018_vgg13.py \
  --config.data.root=DIR
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/fsdkaggle2018_vgg13",
      "seed": 1000,
      "data": {
        "root": "FSDKaggle2018",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
        "remove_silence": False,
      },
      "model": {
        "frontend": "log_mel_attack",
        "network": "vgg13",
        "width": 1.0,
        "bn_momentum": 0.99,
      },
      "train": {
        "features": "log_mel_attack",
        "batch": 128,
        "epochs": 40,
        "learning_rate": 5e-4,
        "decay": 0.9,
        "decay_every_epochs": 2,
        "mixup_alpha": 1.0,
        "folds": 5,
      },
      "runtime": {"threads": 4, "processes": 0, "checkpoint_every_epochs": 1},
    }
  )
