"""Do the defences of P0 stand? Attacks through a transform, beside the same attacks
that do not know of it: PGD at several levels, Carlini-Wagner at two confidences; then
configs/p0_adaptive_transforms.py.

python experiments/attack.py --config=configs/p0_adaptive.py

Each step goes through the transform's JAX twin, a random one with `draws` draws; codecs
run on the host and have the identity's gradient. What counts is judged on the stored
WAVs, through the transforms in numpy. Through noise, Carlini-Wagner keeps the smallest
perturbation that one lucky set of draws let pass (the clip itself, if noise alone can
fool), and most of these fail under another: it takes confidence. Expectation over
transforms: Athalye et al., Synthesizing Robust Adversarial Examples, ICML 2018.
"""

from ml_collections import ConfigDict

TRANSFORMS = {  # P0's ten, and five more
  "mp3_48": {"transform": "mp3", "bitrate_kbit": 48},
  "mp3_128": {"transform": "mp3", "bitrate_kbit": 128},
  "mp3_320": {"transform": "mp3", "bitrate_kbit": 320},
  "noise_20": {"transform": "noise", "snr_db": 20.0},
  "noise_40": {"transform": "noise", "snr_db": 40.0},
  "noise_60": {"transform": "noise", "snr_db": 60.0},
  "resample_8": {"transform": "resample", "rate_hz": 8000},
  "resample_16": {"transform": "resample", "rate_hz": 16000},
  "resample_20": {"transform": "resample", "rate_hz": 20000},
  "reverb": {"transform": "reverberate"},
  "opus_48": {"transform": "opus"},
  "aac_64": {"transform": "aac"},
  "stretch": {"transform": "time_stretch", "rate": 1.1},
  "pitch": {"transform": "pitch_shift", "semitones": 1.0},
  "trim": {"transform": "trim"},
}
LEVELS_DB = (60, 50, 40, 30)
CONFIDENCES = (0, 5)  # in logits


def pgd(snr_db: float) -> dict:
  return {
    "method": "pgd",
    "norm": "l2",
    "radius": float(snr_db),
    "budget": "snr_db",
    "steps": 30,
    "goal": "strongest",
  }


def carlini_wagner(confidence: float) -> dict:
  return {
    "method": "carlini_wagner",
    "norm": "l2",
    "search_steps": 2,
    "iterations": 30,
    "confidence": float(confidence),
  }


PLAIN = {f"pgd_{level}": pgd(level) for level in LEVELS_DB} | {
  f"cw_{confidence}": carlini_wagner(confidence) for confidence in CONFIDENCES
}


def get_config() -> ConfigDict:
  attacks = dict(PLAIN)
  for transform, through in TRANSFORMS.items():
    for name, entry in PLAIN.items():
      attacks[f"{transform}_{name}"] = entry | {"through": dict(through), "draws": 4}
  return ConfigDict(
    {
      "workdir": "runs/p0/adaptive",
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
