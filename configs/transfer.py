"""Do examples that were made for one model fool another? P1's Table 5.

python experiments/attack.py --config=configs/p1_untargeted.py
python experiments/transfer.py --config=configs/transfer.py
"""

from ml_collections import ConfigDict

NETWORKS = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "workdir": "runs/p1/transfer",
      # workdirs of attacks, with their WAVs, or folders of such: "DIR,DIR"
      "sources": "runs/p1/untargeted",
      # trained victims, or folders of such, that listen: "DIR,DIR"
      "victims": ",".join(f"bundled/{network}" for network in NETWORKS),
      "runtime": {
        "threads": 4,
        "processes": 0,
        "batch_chunks": 16,
        "only": "deepfool,carlini_wagner",  # P1's two; "": all attacks
      },
    }
  )
