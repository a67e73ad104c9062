"""One of P1's five networks at full width on FSDKaggle2018, after the colon.

python experiments/train.py --config=configs/fsdkaggle2018_victim.py:vgg13 \
  --config.data.root=DIR

vgg13, crnn and gcnn: Iqbal et al., DCASE 2018 task 2, and the authors' code. One
difference: they train on the frontend that they are attacked through (BUILD.md, "Which
frontend to train on"). The original's own: --config.train.features=log_mel_train
--config.data.remove_silence=True. dense_mel and dense_wav: Jeong and Lim, DCASE 2018
task 2; their rate, batch, epochs and mixup were not published: Adam at 1e-3, batches
of 64, Beta(1, 1). For a GPU host.
"""

from ml_collections import ConfigDict

CHOICES = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")


def get_config(network: str = "vgg13") -> ConfigDict:
  if network not in CHOICES:
    raise ValueError(f"{network!r} is no network: choose from {', '.join(CHOICES)}")
  waveform = network.startswith("dense")
  frontend = "waveform" if waveform else "log_mel_attack"
  return ConfigDict(
    {
      "workdir": f"runs/fsdkaggle2018/{network}",
      "seed": 1000,
      "data": {
        "root": "FSDKaggle2018",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
        "remove_silence": False,
      },
      "model": {
        "frontend": frontend,
        "network": network,
        "width": 1.0,
        "bn_momentum": 0.99,
        "options": {"kernel": 3, "pool": 4} if network == "dense_wav" else {},
      },
      "train": {
        "features": frontend,
        "excerpt_samples": 64000,
        "normalise_peak": False,
        "batch": 64 if waveform else 128,
        "epochs": 100 if waveform else 40,
        "learning_rate": 1e-3 if waveform else 5e-4,
        "decay": 0.9,
        "decay_every_epochs": 5 if waveform else 2,
        "mixup_alpha": 1.0,
        "mask_noisy": 0.8 if waveform else 0.0,
        "unverified_weight": 1.0,
        "folds": 5,
        "patience_epochs": 20 if waveform else 0,
        "keep": "best" if waveform else "last",
      },
      "runtime": {"threads": 4, "processes": 0, "checkpoint_every_epochs": 1},
    }
  )
