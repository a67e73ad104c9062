"""Accuracy, confusion matrix and model card of trained victims.

Several victims and splits: --config.victim=DIR,DIR --config.data.split=train,test

python experiments/evaluate.py --config=configs/evaluate.py \
  --config.victim=runs/bundled/vgg13 --config.data.root=bundled --config.data.split=test
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/evaluate",
      "victim": "runs/bundled/vgg13",
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
