"""The main job: fool a VGG13 on the bundled recordings, as in P1's Tables 2 and 3.

python experiments/train.py --config=configs/bundled_victim.py:vgg13
python experiments/attack.py --config=configs/quickstart.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/quickstart",
      "seed": 0,
      "victim": "runs/bundled/vgg13",
      "data": {
        "root": "bundled",
        "split": "test",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,  # 22050: as the original experiment loaded its clips
        "clips_per_class": 6,  # as in P1; 0: all
        "classes": "",  # "": all; or "Cello,Oboe"
      },
      "targets": "",  # "": untargeted; "all", or "Cello,Oboe"
      "precision": "default",
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
          "steps": 20,
          "goal": "strongest",
        },
        "deepfool": {"method": "deepfool", "norm": "l2"},
        "carlini_wagner": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 3,
          "iterations": 60,
        },
      },
      "runtime": {
        "threads": 4,
        "processes": 0,
        "lane_chunks": 0,  # at once on a device; 0: what suits it
        "chunk": 0,  # steps between looks at the host; 0: what suits the device
        "guards": True,  # look at the victim first (jaxadv/guards.py)
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
        "only": "",  # "": all attacks; or "deepfool,fgsm"
      },
    }
  )
