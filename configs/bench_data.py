"""How fast clips are decoded, resampled and padded, beside librosa.load in a loop.

python experiments/bench.py --config=configs/bench_data.py
python experiments/bench.py --config=configs/bench_data.py --config.data.root=DIR
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "data",
      "workdir": "runs/bench_data",
      "data": {
        "root": "bundled",
        "split": "train",
        "vocabulary": "any",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "clips": 200,  # at most
      "repeats": 5,
    }
  )
