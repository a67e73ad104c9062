"""What plain and adaptive attacks reach after each transform.

python experiments/attack.py --config=configs/p0_adaptive.py
python experiments/transforms.py --config=configs/p0_adaptive_transforms.py
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/p0/transforms_adaptive",
      "seed": 0,
      "sources": "runs/p0/adaptive",
      "victims": "bundled/vgg13",
      "examples": "all",
      "only": "",
      "wavs": "wav",
      # as configs/p0_adaptive.py has them
      "transforms": {
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
      },
      "runtime": {"threads": 4, "processes": 0, "batch_chunks": 16},
    }
  )
