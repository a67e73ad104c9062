"""P1's tables and figures of runs, evaluations and transfers.

python experiments/tabulate.py --config=configs/tabulate.py \
  --config.runs=runs/quickstart,runs/evaluate --config.out=runs/p1
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "runs": "runs/quickstart",  # folders, or folders of such folders: "DIR,DIR"
      "out": "runs/p1",
    }
  )
