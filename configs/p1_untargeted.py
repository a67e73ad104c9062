"""P1's untargeted experiment: four attacks on five victims (Tables 2 and 3, Figures 1
and 3), on six training clips of each class.

python experiments/attack.py --config=configs/p1_untargeted.py
python experiments/attack.py --config=configs/p1_untargeted.py:paper \
  --config.data.root=DIR --config.victim=DIR,DIR

"quick", the default, is for two CPU cores: Carlini-Wagner takes 100 iterations of
ten times the rate in place of 1000. "paper" has the settings of Subramanian et al.,
Adversarial attacks in sound event classification, 2019, and of the authors' code; both
have their variants of DeepFool and of Carlini-Wagner, and the usual ones beside them.
"""

from ml_collections import ConfigDict

NETWORKS = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")
# iterations of Carlini-Wagner, and its rate: both travel as far
ITERATIONS = {"quick": (100, 1e-4), "paper": (1000, 1e-5)}
CHOICES = tuple(ITERATIONS)


def get_config(setting: str = "quick") -> ConfigDict:
  if setting not in CHOICES:
    raise ValueError(f"{setting!r} is no setting: choose from {', '.join(CHOICES)}")
  iterations, learning_rate = ITERATIONS[setting]
  return ConfigDict(
    {
      "workdir": "runs/p1/untargeted",
      "seed": 0,
      "victim": ",".join(f"bundled/{network}" for network in NETWORKS),
      "data": {
        "root": "bundled",
        "split": "train",
        "vocabulary": "fsdkaggle2018",
        "verified_only": True,
        "band_limit_hz": 22050,  # the original loads its clips at 22,050 Hz
        "clips_per_class": 6,
        "classes": "",
      },
      "targets": "",
      "precision": "default",
      "attacks": {
        "white_noise": {
          "method": "white_noise",
          "norm": "l2",
          "radius": 20.0,
          "budget": "snr_db",
        },
        "fgsm": {"method": "fgsm", "norm": "linf", "radius": 20.0, "budget": "snr_db"},
        "deepfool": {"method": "deepfool", "norm": "l2", "variant": "subramanian"},
        "carlini_wagner": {
          "method": "carlini_wagner",
          "norm": "l2",
          "variant": "subramanian",
          "search_steps": 2,
          "iterations": iterations,
          "learning_rate": learning_rate,
          "c": 1e-2,
          "schedule": "constant",
          "restart": "zero",
          "kappa": 500.0,
        },
        "deepfool_canonical": {"method": "deepfool", "norm": "l2"},
        "carlini_wagner_canonical": {
          "method": "carlini_wagner",
          "norm": "l2",
          "search_steps": 3,
          "iterations": 60 if setting == "quick" else 1000,
        },
      },
      "runtime": {
        "threads": 4,
        "processes": 0,
        "lane_chunks": 0,
        "chunk": 0,
        "guards": True,
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
        "only": "",
      },
    }
  )
