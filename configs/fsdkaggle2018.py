"""The main job on FSDKaggle2018, for a GPU host: 6 verified training clips a class.

python experiments/train.py --config=configs/fsdkaggle2018_victim.py:vgg13 \
  --config.data.root=DIR
python experiments/attack.py --config=configs/fsdkaggle2018.py --config.data.root=DIR
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/fsdkaggle2018",
      "seed": 0,
      "victim": "runs/fsdkaggle2018/vgg13",
      "data": {
        "root": "FSDKaggle2018",
        "split": "train",
        "vocabulary": "fsdkaggle2018",
        "verified_only": True,
        "band_limit_hz": 0,  # 22050: as the original experiment loaded its clips
        "clips_per_class": 6,
        "classes": "",
      },
      "targets": "",
      # minimum-norm attacks stop at tiny margins, which TF32 would decide by rounding
      "precision": "highest",
      "attacks": {
        "white_noise": {
          "method": "white_noise",
          "norm": "l2",
          "radius": 20.0,
          "budget": "snr_db",
        },
        "fgsm": {"method": "fgsm", "norm": "l2", "radius": 20.0, "budget": "snr_db"},
        "pgd": {
          "method": "pgd",
          "norm": "linf",
          "radius": 40.0,
          "budget": "snr_db",
          "steps": 40,
          "goal": "strongest",
        },
        "deepfool": {"method": "deepfool", "norm": "l2"},
        "carlini_wagner": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 5,
          "iterations": 200,
        },
      },
      "runtime": {
        "threads": 8,
        "processes": 0,
        "lane_chunks": 0,
        "chunk": 0,
        "guards": True,  # look at the victim first (jaxadv/guards.py)
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
        "only": "",
      },
    }
  )
