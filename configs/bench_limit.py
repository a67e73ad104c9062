"""An attack's step against the bare gradient of the same loss on the same batch.

python experiments/bench.py --config=configs/bench_limit.py
python experiments/bench.py --config=configs/bench_limit.py --config.model.width=1.0 \
  --config.workdir=runs/bench_limit_wide
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "limit",
      "workdir": "runs/bench_limit",
      "seed": 0,
      "classes": 41,
      "precision": "default",  # or "highest", "bfloat16"
      "lanes": 16,
      "repeats": 15,
      "model": {
        "frontend": "log_mel_attack",
        "network": "vgg13",
        "width": 0.125,
        "bn_momentum": 0.99,
        "options": {},
      },
      "attacks": {
        "fgsm": {"method": "fgsm", "norm": "l2", "radius": 20.0, "budget": "snr_db"},
        "pgd_linf": {
          "method": "pgd",
          "norm": "linf",
          "radius": 40.0,
          "budget": "snr_db",
          "steps": 1000,
        },
        "pgd_l2": {
          "method": "pgd",
          "norm": "l2",
          "radius": 40.0,
          "budget": "snr_db",
          "steps": 1000,
        },
        "carlini_wagner": {"method": "carlini_wagner", "norm": "l2"},
        "deepfool": {"method": "deepfool", "norm": "l2", "steps": 1000},
        "lbfgs": {"method": "lbfgs", "norm": "l2"},
      },
    }
  )
