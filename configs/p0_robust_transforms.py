"""What one perturbation survives: the transforms that it was made for, and others.

python experiments/attack.py --config=configs/p0_robust.py
python experiments/transforms.py --config=configs/p0_robust_transforms.py
"""

from ml_collections import ConfigDict

SEEN = {  # as configs/p0_robust.py has them
  "as_is": {"transform": "gain", "gain_db": 0.0},
  "noise_30": {"transform": "noise", "snr_db": 30.0},
  "resample_16": {"transform": "resample", "rate_hz": 16000},
  "reverb": {"transform": "reverberate"},
}
HELD_OUT = {
  "gain_-6": {"transform": "gain", "gain_db": -6.0},
  "median_5": {"transform": "median", "window_samples": 5},
  "mp3_48": {"transform": "mp3", "bitrate_kbit": 48},
  "noise_20": {"transform": "noise", "snr_db": 20.0},
  "noise_40": {"transform": "noise", "snr_db": 40.0},
  "opus_48": {"transform": "opus", "bitrate_kbit": 48},
  "phone": {"transform": "phone_band"},
  "resample_8": {"transform": "resample", "rate_hz": 8000},
  "room": {
    "transform": "reverberate",
    "rt60_s": 0.5,
    "direct_to_reverberant_db": 0.0,
  },
}


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/p0/transforms_robust",
      "seed": 0,
      "sources": "runs/p0/robust",
      "victims": "bundled/vgg13",
      "examples": "all",
      "only": "",
      "wavs": "wav",
      "transforms": SEEN | HELD_OUT,
      "runtime": {"threads": 4, "processes": 0, "batch_chunks": 16},
    }
  )
