"""Do examples that were made for one model fool another? P1's Table 5.

python experiments/transfer.py --config=configs/transfer.py \
  --config.sources=runs/quickstart --config.victims=runs/bundled/vgg13,runs/bundled/gcnn
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/transfer",
      # workdirs of attacks, with their WAVs, or folders of such: "DIR,DIR"
      "sources": "runs/quickstart",
      # trained victims, or folders of such, that listen: "DIR,DIR"
      "victims": "runs/bundled/vgg13,runs/bundled/gcnn",
      "runtime": {
        "threads": 4,
        "processes": 0,
        "batch_chunks": 16,
        "only": "",  # "": all attacks; or "deepfool,carlini_wagner"
      },
    }
  )
