"""A narrow network on the bundled recordings: one of P1's five, after the colon.

python experiments/train.py --config=configs/bundled_victim.py:vgg13
python experiments/train.py --config=configs/bundled_victim.py:crnn \
  --config.data.root=DIR --config.workdir=runs/mine/crnn

vgg13, crnn and gcnn train as Iqbal et al. trained theirs, dense_mel and dense_wav as
Jeong and Lim (random excerpts of two seconds, mixed as waveforms), with the rates,
widths and momenta that few clips and two CPU cores ask for.
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
      "workdir": f"runs/bundled/{network}",
      "seed": 0,
      "data": {
        "root": "bundled",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
        "remove_silence": False,
      },
      "model": {
        "frontend": frontend,
        "network": network,
        "width": 0.125,
        # few steps in all: the running mean must keep up (0.99 in the paper's)
        "bn_momentum": 0.9,
        "options": {"kernel": 3, "pool": 4} if network == "dense_wav" else {},
      },
      "train": {
        "features": frontend,
        "excerpt_samples": 64000,
        "normalise_peak": False,
        "batch": 32,
        "epochs": 80 if waveform else 40,
        "learning_rate": 2e-3,
        "decay": 0.95 if waveform else 0.9,
        "decay_every_epochs": 2,
        "mixup_alpha": 1.0,
        "mask_noisy": 0.8 if waveform else 0.0,
        "unverified_weight": 1.0,
        "folds": 5,
        "patience_epochs": 0,
        "keep": "best",
      },
      "runtime": {"threads": 4, "processes": 0, "checkpoint_every_epochs": 10},
    }
  )
