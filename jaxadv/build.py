"""Where names in a config become objects, and where configs are checked."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.attacks import ATTACKS
from jaxadv.core import GOALS, Attack, Goal
from jaxadv.data import CLASSES, Dataset, read_dataset
from jaxadv.errors import InputError
from jaxadv.losses import LOSSES, Objective, targeted, untargeted
from jaxadv.models import FRONTENDS, MODELS, Classifier
from jaxadv.norms import NORMS
from jaxadv.problem import BUDGETS, Threat

_DATA = {"root": str, "vocabulary": str, "verified_only": bool, "band_limit_hz": int}
_RUNTIME = {"threads": int, "processes": int}
TRAIN_KEYS = {
  "workdir": str,
  "seed": int,
  "data": _DATA | {"remove_silence": bool},
  "model": {"frontend": str, "network": str, "width": float, "bn_momentum": float},
  "train": {
    "features": str,
    "batch": int,
    "epochs": int,
    "learning_rate": float,
    "decay": float,
    "decay_every_epochs": int,
    "mixup_alpha": float,
    "folds": int,
  },
  "runtime": _RUNTIME | {"checkpoint_every_epochs": int},
}
EVALUATE_KEYS = {
  "workdir": str,
  "victim": str,
  "data": _DATA | {"split": str},
  "runtime": _RUNTIME | {"batch_chunks": int},
}
ATTACK_KEYS = {
  "workdir": str,
  "seed": int,
  "victim": str,
  "data": _DATA | {"split": str, "clips_per_class": int, "classes": str},
  "targets": str,
  "precision": str,
  "attacks": dict,
  "runtime": _RUNTIME | {"lane_chunks": int, "chunk": int, "only": str},
}
BENCH_KEYS = {
  "workdir": str,
  "seed": int,
  "classes": int,
  "lanes": int,
  "repeats": int,
  "model": TRAIN_KEYS["model"],
  "attacks": dict,
}
_AT_LEAST = {  # smallest value of a number; the rest is checked where it is used
  "seed": 0,
  "data.band_limit_hz": 0,
  "data.clips_per_class": 0,
  "classes": 2,
  "lanes": 1,
  "repeats": 1,
  "model.width": 1 / 512,
  "model.bn_momentum": 0,
  "train.batch": 1,
  "train.epochs": 1,
  "train.learning_rate": 0,
  "train.decay": 0,
  "train.decay_every_epochs": 1,
  "train.mixup_alpha": 0,
  "train.folds": 2,
  "runtime.threads": 1,
  "runtime.processes": 0,
  "runtime.checkpoint_every_epochs": 1,
  "runtime.batch_chunks": 1,
  "runtime.lane_chunks": 1,
  "runtime.chunk": 0,
}
_AT_MOST = {"seed": 2**31 - 1, "model.bn_momentum": 1}
PRECISIONS = ("highest", "default")


def check(config: Mapping[str, Any], keys: Mapping[str, Any], prefix: str = "") -> None:
  """InputError for a key that is unknown, missing, of another type or out of range."""
  for key in config:
    if key not in keys:
      known = ", ".join(prefix + k for k in keys)
      raise InputError(f"{prefix}{key} is no key of this config: known are {known}")
  for key, kind in keys.items():
    name = prefix + key
    if key not in config:
      raise InputError(f"the config lacks {name}: add it")
    value = config[key]
    if isinstance(kind, Mapping):
      if not isinstance(value, Mapping):
        raise InputError(
          f"{name} is {value!r}: give a group of keys ({', '.join(kind)})"
        )
      check(value, kind, name + ".")
    else:
      _check_value(name, value, kind)


def _check_value(name, value, kind):
  accepted = (int, float) if kind is float else kind
  if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
    raise InputError(f"{name} is {value!r}: give a value of type {kind.__name__}")
  smallest = _AT_LEAST.get(name)
  if smallest is not None and not value >= smallest:
    raise InputError(f"{name} is {value!r}: give at least {smallest}")
  largest = _AT_MOST.get(name)
  if largest is not None and not value <= largest:
    raise InputError(f"{name} is {value!r}: give at most {largest}")
  if name == "precision" and value not in PRECISIONS:
    raise InputError(f"precision is {value!r}: choose from {', '.join(PRECISIONS)}")


def _lookup(table: Mapping[str, Any], name: str, key: str) -> Any:
  if name not in table:
    raise InputError(f"{key} is {name!r}: choose from {', '.join(table)}")
  return table[name]


def dataset(
  data: Mapping[str, Any], split: str, classes: Sequence[str] | None = None
) -> Dataset:
  """The clips that the group `data` of a config names."""
  vocabulary = _lookup(
    {"fsdkaggle2018": CLASSES, "any": None}, data["vocabulary"], "data.vocabulary"
  )
  return read_dataset(
    data["root"],
    split,
    classes=classes,
    vocabulary=vocabulary,
    verified_only=data["verified_only"],
  )


def classifier(model: Mapping[str, Any], classes: int) -> Classifier:
  """The victim that the group `model` of a config describes."""
  network = _lookup(MODELS, model["network"], "model.network")
  frontend = _lookup(FRONTENDS, model["frontend"], "model.frontend")
  return Classifier(frontend, network(classes, model["width"], model["bn_momentum"]))


class AttackPlan(NamedTuple):
  """One entry of `attacks` in a config."""

  attack: Attack
  threat: Threat
  objective: Objective
  goal: Goal


_THREAT_KEYS = ("method", "norm", "radius", "budget", "loss", "confidence", "goal")


def attack_plan(name: str, entry: Mapping[str, Any], *, target: bool) -> AttackPlan:
  """An entry such as {"method": "pgd", "norm": "l2", "radius": 40.0, "budget":
  "snr_db", "steps": 40}: method and norm are needed, the rest has defaults."""
  if not isinstance(entry, Mapping):
    raise InputError(f"attacks.{name} is {entry!r}: give a group of keys")
  key = f"attacks.{name}."
  for needed in ("method", "norm"):
    if needed not in entry:
      raise InputError(f"the config lacks {key}{needed}: add it")
  factory = _lookup(ATTACKS, entry["method"], key + "method")
  hyper = {k: v for k, v in entry.items() if k not in _THREAT_KEYS}
  attack = _make(factory, hyper, key)
  if attack.norms and entry["norm"] not in attack.norms:
    raise InputError(
      f"{key}norm is {entry['norm']!r}: {entry['method']} is defined for "
      f"{' and '.join(attack.norms)}"
    )
  radius, budget = entry.get("radius"), entry.get("budget", "absolute")
  _check_radius(radius, budget, attack, key)
  confidence = entry.get("confidence", 0.0)
  _check_value(key + "confidence", confidence, float)
  if confidence < 0:
    raise InputError(f"{key}confidence is {confidence!r}: give at least 0")
  if target and not attack.targetable:
    raise InputError(
      f"{key}method {entry['method']!r} has no targeted form: leave it out with "
      "--config.runtime.only=NAME,NAME or clear targets"
    )
  loss = _lookup(LOSSES, entry.get("loss", "cross_entropy"), key + "loss")
  goal = entry.get("goal", "")
  return AttackPlan(
    attack,
    Threat(
      _lookup(NORMS, entry["norm"], key + "norm"),
      float("inf") if radius is None else float(radius),
      budget,
    ),
    (targeted if target else untargeted)(loss, float(confidence)),
    _lookup(GOALS, goal, key + "goal") if goal else attack.goal,
  )


def _make(factory: Callable, hyper: Mapping[str, Any], key: str) -> Attack:
  parameters = inspect.signature(factory).parameters
  for name, value in hyper.items():
    if name not in parameters:
      known = ", ".join([*_THREAT_KEYS, *parameters])
      raise InputError(f"{key}{name} is no parameter of this attack: known are {known}")
    _check_value(key + name, value, type(parameters[name].default))
  try:
    return factory(**hyper)
  except InputError as error:
    raise InputError(f"{key}{error}") from error


def _check_radius(radius, budget, attack, key):
  _lookup(BUDGETS, budget, key + "budget")
  if radius is None:
    if attack.needs_radius:
      raise InputError(f"the config lacks {key}radius: this attack fills its budget")
    if budget == "snr_db":
      raise InputError(f"the config lacks {key}radius: an SNR in dB for budget snr_db")
    return
  _check_value(key + "radius", radius, float)
  if not math.isfinite(radius):
    raise InputError(f"{key}radius is {radius!r}: give a finite number")
  if budget != "snr_db" and not radius > 0:
    raise InputError(f"{key}radius is {radius!r}: give more than 0")


def victim_folder(path: str) -> Path:
  """The folder of a trained victim; InputError where it is none."""
  folder = Path(path)
  if not (folder / "victim.json").is_file():
    raise InputError(
      f"victim {path!r} is no folder of a trained victim (no victim.json in it): train "
      "one with experiments/train.py, or give another folder with --config.victim=DIR"
    )
  return folder
