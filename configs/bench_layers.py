"""The backward pass of every kind of layer and network against its forward pass.

python experiments/bench.py --config=configs/bench_layers.py
python experiments/bench.py --config=configs/bench_layers.py \
  --config.width=1.0 --config.batch=4 --config.workdir=runs/bench_layers_wide
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "layers",
      "workdir": "runs/bench_layers",
      "seed": 0,
      "batch": 8,
      "repeats": 15,
      "width": 0.125,
      "only": "",  # part of a layer's name, "" for all
    }
  )
