"""Our attacks against Foolbox, ART, torchattacks, adv-lib and CleverHans.

pip install -c constraints.txt -e '.[experiments,bench]'
pip install -c constraints.txt --no-deps torchattacks adv-lib cleverhans

Without their dependencies, since those ask for old or absent packages that the attacks
don't use. Then

python experiments/train.py --config=configs/bundled_victim.py:vgg13
python experiments/train.py --config=configs/bundled_victim.py:gcnn
python experiments/bench.py --config=configs/bench_peers.py
"""

from copy import deepcopy

from ml_collections import ConfigDict

# `peers` adds to what the other libraries are told; the rest they read from our entry
MINIMUM_NORM = {
  "deepfool": {"steps": 50, "classes": 14},  # all classes, as in most of them
  # ours look at the clean clip or the last point too: fewer steps, no more gradients
  "fab": {"iterations": 46, "classes": 14, "peers": {"iterations": 50}},
  "fmn": {"steps": 199, "peers": {"steps": 200}},
  "ddn": {"steps": 199, "peers": {"steps": 200, "init_norm": 0.01}},
  "jsma": {
    "steps": 500,
    "features": 2,
    "peers": {"gamma": 1000 / 65536},
  },  # two samples a step
  # ours takes step and c from the gradient; theirs are the best of a few that we tried
  "carlini_wagner": {
    "search_steps": 5,
    "iterations": 100,
    "peers": {"learning_rate": 1e-5, "c": 1e-3},
  },
  "carlini_wagner_linf": {
    "steps": 1000,
    "iterations": 100,
    "peers": {"learning_rate": 1e-5},
  },
  "carlini_wagner_l0": {
    "steps": 2000,
    "iterations": 100,
    "peers": {"learning_rate": 1e-4, "search_steps": 3, "c": 1e-3},
  },
}
# the best of nine pairs for adv-lib, on twelve clips each of vgg13 and gcnn (BUILD.md);
# theirs by default are 2.0, which is a step of 1 there, and 0.05
FMN_PEERS = {
  "l0": {"alpha": 2.0, "gamma": 0.05},
  "l1": {"alpha": 0.05, "gamma": 0.7},
  "l2": {"alpha": 0.015, "gamma": 0.7},
  "l2_targeted": {"alpha": 0.015, "gamma": 0.05},
  "linf": {"alpha": 0.05, "gamma": 0.7},
}
NORMS = {
  "deepfool": ("l2", "linf"),
  "fab": ("l1", "l2", "linf"),
  "fmn": ("l0", "l1", "l2", "linf"),
  "ddn": ("l2",),
  "jsma": ("l0",),
  "carlini_wagner": ("l2",),
  "carlini_wagner_linf": ("linf",),
  "carlini_wagner_l0": ("l0",),
}
BUDGETS = {
  "pgd": {"steps": 40},
  "pgd_adam": {
    "method": "pgd",
    "steps": 40,
    "optimizer": "adam",
    "peers": {"counterpart": "pgd_adam"},
  },
  "mim": {
    "method": "pgd",
    "steps": 40,
    "optimizer": "momentum",
    "random_start": False,
    "peers": {"counterpart": "mim"},
  },
  "bim": {"steps": 40, "step_size": 2.5 / 40, "stop_early": True},
  "apgd": {"steps": 40},
  "apgd_dlr": {
    "method": "apgd",
    "loss": "dlr",
    "steps": 40,
    "peers": {"counterpart": "apgd_dlr"},
  },
  "apgd_targeted": {"steps": 20, "targets": 9},
}
SNR_DB = {"linf": (70.0, 60.0), "l2": (75.0, 65.0)}
L1_RADII = {"tight": 0.3, "wide": 1.0}
# again with the class after the clip's own as its target
TARGETED_BALLS = {
  "bim": ("linf",),
  "pgd": ("linf", "l2"),
  "pgd_adam": ("linf",),
  "mim": ("linf",),
  "apgd": ("linf", "l2", "l1"),
  "apgd_dlr": ("linf",),
}
TARGETED_RADII = {
  "linf": {"radius": 55.0, "budget": "snr_db"},
  "l2": {"radius": 60.0, "budget": "snr_db"},
  "l1": {"radius": 1.0},
}
TARGETED_SMALLEST = (
  *("fab_l2", "fab_linf", "fmn_l0", "fmn_l1", "fmn_l2", "fmn_linf", "ddn_l2"),
  *("carlini_wagner_l2", "carlini_wagner_linf_linf", "carlini_wagner_l0_l0"),
  "jsma_l0",
)
NOISE = {"l2": (20.0, 10.0), "linf": (20.0,)}
# what one step, and what scores alone, can do towards a target
TARGETED_FEW = {
  "fgsm_linf_20dB": {},
  "square_linf_50dB": {"radius": 30.0},
  "nes_linf_40dB": {"radius": 30.0},
}


def compared():
  """name -> entry. Fixed budgets: two radii a norm, one that half the clips withstand
  and one that few do."""
  entries = {
    f"{method}_{norm}": {"method": method, "norm": norm, **more}
    for method, more in MINIMUM_NORM.items()
    for norm in NORMS[method]
  }
  for norm in NORMS["deepfool"]:  # the two nearest others only, in those that can
    entries[f"deepfool_3_{norm}"] = entries[f"deepfool_{norm}"] | {"classes": 3}
  for name, more in BUDGETS.items():
    for norm, radii in SNR_DB.items():
      for radius in radii:
        entry = {"method": name, "norm": norm, "radius": radius, "budget": "snr_db"}
        entries[f"{name}_{norm}_{radius:.0f}dB"] = entry | more
    for size, radius in L1_RADII.items():
      entry = {"method": name, "norm": "l1", "radius": radius}
      entries[f"{name}_l1_{size}"] = entry | more
  for norm, radii in NOISE.items():
    for radius in radii:
      entry = {"method": "white_noise", "norm": norm, "budget": "snr_db"}
      entries[f"white_noise_{norm}_{radius:.0f}dB"] = entry | {"radius": radius}
  for radius in (30.0, 20.0):
    entry = {"method": "fgsm", "norm": "linf", "radius": radius, "budget": "snr_db"}
    entries[f"fgsm_linf_{radius:.0f}dB"] = entry
  for norm, p_init in {"linf": 0.8, "l2": 0.1}.items():
    near = {"norm": norm, "radius": 50.0, "budget": "snr_db"}
    far = near | {"radius": 40.0}
    asked = {"queries": 1000, "p_init": p_init}
    square = near | {"method": "square", "steps": 1000, "peers": asked}
    entries[f"square_{norm}_50dB"] = square
    entries[f"nes_{norm}_40dB"] = far | {"method": "nes", "queries": 2000}
  for norm, radii in SNR_DB.items():
    entry = {"method": "autoattack", "norm": norm, "budget": "snr_db"}
    # theirs have settings of their own
    budget = {"radius": radii[0], "steps": 50, "queries": 1000}
    entries[f"autoattack_{norm}_{radii[0]:.0f}dB"] = entry | budget
  for method, norms in TARGETED_BALLS.items():
    for norm in norms:
      entry = {"method": method, "norm": norm, **BUDGETS[method]}
      more = {"targeted": True, **TARGETED_RADII[norm]}
      entries[f"{method}_{norm}_targeted"] = entry | more
  for name, more in TARGETED_FEW.items():
    entries[f"{name.rpartition('_')[0]}_targeted"] = (
      entries[name] | more | {"targeted": True}
    )
  for name in TARGETED_SMALLEST:
    entries[f"{name}_targeted"] = entries[name] | {"targeted": True}
  for norm in NORMS["fmn"]:
    for name in (norm, f"{norm}_targeted"):
      entry, more = entries[f"fmn_{name}"], FMN_PEERS.get(name, FMN_PEERS[norm])
      entry["peers"] = entry["peers"] | more
  # about as many passes as adv-lib's takes until it stops
  for name, steps in {"34_linf": 34, "100_linf_targeted": 100}.items():
    full = entries["carlini_wagner_linf_" + name.partition("_")[2]]
    entries[f"carlini_wagner_linf_{name}"] = full | {"steps": steps}
  # none shares its `peers` with another, or an override would be of both
  return {name: deepcopy(entry) for name, entry in entries.items()}


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      "kind": "peers",
      "workdir": "runs/bench_peers",
      "seed": 0,
      "victims": "runs/bundled/vgg13,runs/bundled/gcnn",
      "data": {
        "root": "bundled",
        "split": "test",
        "vocabulary": "fsdkaggle2018",
        "verified_only": False,
        "band_limit_hz": 0,
      },
      "clips": 20,
      "rms": 0.08,
      "only": "",  # "": all; or "deepfool,pgd_l2_65dB": entries or methods
      "compared": compared(),
      "runtime": {
        "threads": 2,  # of torch
        "libraries": "",  # "": all; or "jaxadv,foolbox"
        "redo": "",  # libraries or attacks whose rows are computed again
        "limit_s": 1800,  # for one row; 0: none
      },
    }
  )
