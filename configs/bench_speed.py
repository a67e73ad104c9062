"""Seconds of whole attacks, ours against Foolbox, ART, torchattacks, adv-lib and
CleverHans, on the same clips with the same victim, budget and steps.

python experiments/bench.py --config=configs/bench_speed.py

Install as configs/bench_peers.py says. Each library runs at the fastest of `batches`.
None of them has an L-BFGS attack in these versions. `pgd` stops at a clip's first
success, as ours does by default; `pgd_all_steps` takes all 40, as theirs do.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  pgd = {"method": "pgd", "norm": "linf", "radius": 60.0, "budget": "snr_db"}
  return ConfigDict(
    {
      "kind": "speed",
      "workdir": "runs/bench_speed",
      "seed": 0,
      "victim": "bundled/vgg13",
      "data": {
        "root": "bundled",
        "split": "test",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "clips": 12,
      "rms": 0.08,
      "batches": (4, 12),
      "repeats": 3,
      "compared": {
        "pgd": pgd | {"steps": 40},
        "pgd_all_steps": pgd | {"steps": 40, "goal": "strongest"},
        # ours takes rate and c from the gradient; theirs are the best of a few
        "carlini_wagner": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 4,
          "iterations": 50,
          "peers": {"learning_rate": 1e-5, "c": 1e-3},
        },
        # ours with fewer steps, for about the same distance
        "carlini_wagner_short": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 2,
          "iterations": 30,
          "peers": {
            "learning_rate": 1e-5,
            "c": 1e-3,
            "search_steps": 4,
            "iterations": 50,
          },
        },
        "deepfool": {
          "method": "deepfool",
          "norm": "l2",
          "steps": 50,
          "classes": 14,  # all of them, as in most of the others
        },
        # the two nearest others only, in those that can
        "deepfool_3": {"method": "deepfool", "norm": "l2", "steps": 50, "classes": 3},
      },
      "runtime": {
        "threads": 2,  # of torch
        "libraries": "",  # "": all; or "jaxadv,foolbox"
        "limit_s": 120,  # for one run; 0: none
      },
    }
  )
