"""Do the defences of P0 stand? PGD that attacks through a transform, beside PGD that
does not know of it, at several levels; then configs/p0_adaptive_transforms.py.

python experiments/attack.py --config=configs/p0_adaptive.py

Each step goes through the transform's JAX twin, a random one with four draws; codecs
run on the host and have the identity's gradient. What counts is judged on the stored
WAVs, through the transforms in numpy. Expectation over transforms: Athalye et al.,
Synthesizing Robust Adversarial Examples, ICML 2018.
"""

from ml_collections import ConfigDict

TRANSFORMS = {
  "mp3_48": {"transform": "mp3", "bitrate_kbit": 48},
  "noise_20": {"transform": "noise", "snr_db": 20.0},
  "noise_40": {"transform": "noise", "snr_db": 40.0},
  "resample_8": {"transform": "resample", "rate_hz": 8000},
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
    "steps": 30,
    "goal": "strongest",
  }
  return entry | changes


def get_config() -> ConfigDict:
  attacks = {f"pgd_{level}": pgd(level) for level in LEVELS_DB}
  for name, transform in TRANSFORMS.items():
    draws = 4 if transform["transform"] == "noise" else 1
    for level in LEVELS_DB:
      attacks[f"{name}_{level}"] = pgd(level, through=transform, draws=draws)
  return ConfigDict(
    {
      "workdir": "runs/p1/adaptive",
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
        "lane_chunks": 16,
        "chunk": 0,
        "guards": True,
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
        "only": "",
      },
    }
  )
