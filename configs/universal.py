"""One perturbation for a whole data set, tested on other clips and other victims.

python experiments/universal.py --config=configs/universal.py

Trained on every chunk (65,536 samples, 2.048 s) of the training split against `victim`,
in epochs of shuffled minibatches. A clip of several chunks hears it in each; with a
relative or an SNR budget each chunk hears it as loud as the chunk allows.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/universal/vgg13",
      "seed": 0,
      "victim": "bundled/vgg13",
      "test_victims": "bundled/vgg13,bundled/crnn",
      "data": {
        "root": "bundled",
        "split": "train",
        "test_split": "test",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "target": "",  # "": untargeted; or "Cello"
      "precision": "default",
      "attacks": {  # one; its steps are epochs * minibatches
        "universal": {
          "method": "pgd",
          "norm": "l2",
          "radius": 20.0,
          "budget": "snr_db",  # or "relative", "absolute"
          "loss": "cross_entropy",
          "optimizer": "plain",  # or "momentum", "adam"
          "random_start": False,
          # share of the radius; 0: 2.5 / steps, which is small for minibatches
          "step_size": 0.1,
        }
      },
      # where it may write: seconds of a chunk, hertz; 0 to 0: everywhere
      "mask": {"start_s": 0.0, "end_s": 0.0, "low_hz": 0.0, "high_hz": 0.0},
      "train": {
        "epochs": 10,
        "batch": 16,  # chunks, over all devices
        "test_every_epochs": 1,  # 0: only at the end
      },
      "runtime": {
        "threads": 4,
        "processes": 0,
        "batch_chunks": 16,  # judged at once
        "checkpoint_every_epochs": 1,
        "guards": True,  # look at the victim first (jaxadv/guards.py)
        "distributed": "",  # one process; or "auto", "HOST:PORT,COUNT,INDEX"
      },
    }
  )
