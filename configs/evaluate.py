"""Accuracy and confusion matrix of a trained victim.

python experiments/evaluate.py --config=configs/evaluate.py \
  --config.victim=runs/bundled_vgg13 --config.data.root=bundled --config.data.split=test
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/evaluate",
      "victim": "runs/bundled_vgg13",
      "data": {
        "root": "bundled",
        "split": "test",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "runtime": {"threads": 4, "processes": 0, "batch_chunks": 16},
    }
  )
