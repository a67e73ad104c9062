"""How fast each transform of P0 and each other defence is, per core.

python experiments/bench.py --config=configs/bench_transforms.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  transforms = {
    "mp3_48": {"transform": "mp3", "bitrate_kbit": 48},
    "mp3_128": {"transform": "mp3", "bitrate_kbit": 128},
    "mp3_320": {"transform": "mp3", "bitrate_kbit": 320},
    "aac_64": {"transform": "aac", "bitrate_kbit": 64},
    "opus_48": {"transform": "opus", "bitrate_kbit": 48},
    "vorbis": {"transform": "vorbis"},
    "noise_20": {"transform": "noise", "snr_db": 20.0},
    "resample_8": {"transform": "resample", "rate_hz": 8000},
    "resample_16": {"transform": "resample", "rate_hz": 16000},
    "resample_20": {"transform": "resample", "rate_hz": 20000},
    "reverb": {"transform": "reverberate"},
    "bits_8": {"transform": "bit_depth", "bits": 8},
    "low_pass_8": {"transform": "low_pass", "cutoff_hz": 8000.0},
    "band_pass": {"transform": "band_pass"},
    "phone": {"transform": "phone_band"},
    "smooth_5": {"transform": "smooth", "window_samples": 5},
    "median_5": {"transform": "median", "window_samples": 5},
    "shift": {"transform": "time_shift", "shift_s": 0.1},
    "stretch": {"transform": "time_stretch", "rate": 1.1},
    "pitch": {"transform": "pitch_shift", "semitones": 1.0},
    "gain_-6": {"transform": "gain", "gain_db": -6.0},
    "flood": {"transform": "flood", "amplitude": 0.01},
    "trim": {"transform": "trim"},
    "noise_mp3_48": {
      "transform": "chain",  # its links go by the order of their names
      "first": {"transform": "noise", "snr_db": 40.0},
      "second": {"transform": "mp3", "bitrate_kbit": 48},
    },
  }
  return ConfigDict(
    {
      "kind": "transforms",
      "workdir": "runs/bench_transforms",
      "seed": 0,
      "data": {
        "root": "bundled",
        "split": "test",
        "vocabulary": "any",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "clips": 40,  # at most
      "victim": "bundled/vgg13",  # whose judging is timed beside
      "model": {  # and that of a network as wide as P0's, of random weights
        "frontend": "log_mel_attack",
        "network": "vgg13",
        "width": 1.0,
        "bn_momentum": 0.99,
        "options": {},
      },
      "batch": 16,  # chunks judged at once
      "transforms": transforms,
    }
  )
