"""One perturbation that survives a set of transforms: PGD on the mean over the set,
beside PGD that knows of none; then configs/p0_robust_transforms.py, which tests both on
the set and on transforms that were held out.

python experiments/attack.py --config=configs/p0_robust.py

Every step goes through all members of the set, a random one with `draws` draws. Athalye
et al., Synthesizing Robust Adversarial Examples, ICML 2018. The set has the clip as it
is in it, so that what survives the others also fools the victim directly.
"""

from copy import deepcopy

from ml_collections import ConfigDict

SET = {
  "transform": "any",
  "as_is": {"transform": "gain", "gain_db": 0.0},
  "noise_30": {"transform": "noise", "snr_db": 30.0},
  "resample_16": {"transform": "resample", "rate_hz": 16000},
  "reverb": {"transform": "reverberate"},
}
LEVELS_DB = (50, 40, 30)


def pgd(snr_db: float, **changes) -> dict:
  entry = {
    "method": "pgd",
    "norm": "l2",
    "radius": float(snr_db),
    "budget": "snr_db",
    "steps": 50,
    "goal": "strongest",
  }
  return entry | changes


def get_config() -> ConfigDict:
  attacks = {f"plain_{level}": pgd(level) for level in LEVELS_DB}
  for level in LEVELS_DB:
    attacks[f"robust_{level}"] = pgd(level, through=deepcopy(SET), draws=2)
  return ConfigDict(
    {
      "workdir": "runs/p0/robust",
      "seed": 0,
      "victim": "bundled/vgg13",
      "data": {
        "root": "bundled",
        "split": "train",
        "vocabulary": "fsdkaggle2018",
        "verified_only": True,
        "band_limit_hz": 22050,  # as in configs/p1_untargeted.py
        "clips_per_class": 3,
        "classes": "",
      },
      "targets": "",
      "precision": "default",
      "attacks": attacks,
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
