"""P1's targeted experiment: six classes, each clip towards the five others (Table 4,
Figure 2), by Carlini-Wagner and L-BFGS on five victims.

python experiments/attack.py --config=configs/p1_targeted.py
python experiments/attack.py --config=configs/p1_targeted.py:paper \
  --config.data.root=DIR --config.victim=DIR,DIR

"quick", the default, is for two CPU cores: two clips of a class in place of six and
fewer iterations. "paper" has the settings of Subramanian et al., Adversarial attacks in
sound event classification, 2019, and of the authors' code for log-mel networks (for the
DenseNets: search_steps=1, iterations=2000, abort_early=False; L-BFGS iterations=1000).
Data that lacks a class: --config.targets and --config.data.classes without it.
"""

from ml_collections import ConfigDict

NETWORKS = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")
CLASSES = "Bass_drum,Cello,Clarinet,Oboe,Snare_drum,Violin_or_fiddle"
# clips of a class; iterations and rate of Carlini-Wagner; iterations of L-BFGS
SIZES = {
  "quick": (2, 100, 1e-4, 50),
  "paper": (6, 1000, 1e-5, 200),
}
CHOICES = tuple(SIZES)


def get_config(setting: str = "quick") -> ConfigDict:
  if setting not in CHOICES:
    raise ValueError(f"{setting!r} is no setting: choose from {', '.join(CHOICES)}")
  clips, iterations, learning_rate, lbfgs_iterations = SIZES[setting]
  return ConfigDict(
    {
      "workdir": "runs/p1/targeted",
      "seed": 0,
      "victim": ",".join(f"bundled/{network}" for network in NETWORKS),
      "data": {
        "root": "bundled",
        "split": "train",
        "vocabulary": "fsdkaggle2018",
        "verified_only": True,
        "band_limit_hz": 22050,  # the original loads its clips at 22,050 Hz
        "clips_per_class": clips,
        "classes": CLASSES,
      },
      "targets": CLASSES,
      "precision": "default",
      "attacks": {
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
        "lbfgs": {
          "method": "lbfgs",
          "norm": "l2",
          "search_steps": 2,
          "iterations": lbfgs_iterations,
          "c": 0.1,
          "memory": 10,
          "shrink": 0,
          "every_point": False,
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
