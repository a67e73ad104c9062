"""P0: do transforms undo attacks? Tables 2 to 5 and Figure 1, from P1's stored runs.

python experiments/attack.py --config=configs/p1_untargeted.py
python experiments/attack.py --config=configs/p1_targeted.py
python experiments/transforms.py --config=configs/p0_transforms.py

The ten transforms of Subramanian, Benetos, Sandler, Robustness of adversarial attacks
in sound event classification, DCASE 2019, section 2.2. After a colon, "defences" has
those that a defence would try besides: --config=configs/p0_transforms.py:defences.
"""

from ml_collections import ConfigDict

NETWORKS = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")
PAPER = {
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
}
DEFENCES = {
  "aac_64": {"transform": "aac", "bitrate_kbit": 64},
  "opus_48": {"transform": "opus", "bitrate_kbit": 48},
  "vorbis": {"transform": "vorbis"},
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
  "noise_40_mp3_48": {
    "transform": "chain",  # its links go by the order of their names
    "first": {"transform": "noise", "snr_db": 40.0},
    "second": {"transform": "mp3", "bitrate_kbit": 48},
  },
}
SETS = {"paper": PAPER, "defences": DEFENCES}
CHOICES = tuple(SETS)


def get_config(which: str = "paper") -> ConfigDict:
  if which not in CHOICES:
    raise ValueError(f"{which!r} is no set: choose from {', '.join(CHOICES)}")
  return ConfigDict(
    {
      "workdir": f"runs/p1/transforms_{which}",
      "seed": 0,
      # workdirs of attacks, or folders of such
      "sources": "runs/p1/untargeted,runs/p1/targeted",
      "victims": ",".join(f"bundled/{network}" for network in NETWORKS),
      "only": "deepfool,carlini_wagner,lbfgs",  # "": all attacks of the sources
      "examples": "successes",  # or "all": what did not fool the model too
      "wavs": "wav",  # the float32 files, or "wav_pcm16"
      "transforms": SETS[which],
      "runtime": {"threads": 4, "processes": 0, "batch_chunks": 16},
    }
  )
