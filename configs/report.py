"""P0's and P1's tables and figures of attacks, evaluations, transfers and transforms.

python experiments/report.py --config=configs/report.py \
  --config.runs=runs/p1 --config.out=runs/p1/tables
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "runs": "runs/p1",  # folders, or folders of such folders: "DIR,DIR"
      "out": "runs/p1/tables",
    }
  )
