"""The useful share of lane-steps on a queue of mixed difficulty and length.

python experiments/bench.py --config=configs/bench_queue.py
python experiments/bench.py --config=configs/bench_queue.py \
  --config.data.root=DIR --config.workdir=runs/bench_queue_mine
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "queue",
      "workdir": "runs/bench_queue",
      "victim": "bundled/vgg13",
      "data": {
        "root": "bundled",
        "split": "train",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
        "clips_per_class": 0,
        "classes": "",
      },
      "targets": "",
      "attacks": {
        # both stop at a clip's first success
        "pgd": {
          "method": "pgd",
          "norm": "linf",
          "radius": 60.0,
          "budget": "snr_db",
          "steps": 40,
        },
        "deepfool": {"method": "deepfool", "norm": "l2"},
        "carlini_wagner": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 2,
          "iterations": 20,
        },
      },
      "runtime": {"threads": 4, "processes": 0, "lane_chunks": 0, "chunk": 0},
    }
  )
