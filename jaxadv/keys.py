"""The keys that configs may have, their types and ranges."""

from collections.abc import Mapping
from typing import Any

from jaxadv.errors import InputError

_DATA = {"root": str, "vocabulary": str, "verified_only": bool, "band_limit_hz": int}
_RUNTIME = {"threads": int, "processes": int}
TRAIN_KEYS = {
  "workdir": str,
  "seed": int,
  "data": _DATA | {"remove_silence": bool},
  "model": {
    "frontend": str,
    "network": str,
    "width": float,
    "bn_momentum": float,
    "options": dict,  # of this network only
  },
  "train": {
    "features": str,
    "batch": int,
    "epochs": int,
    "learning_rate": float,
    "decay": float,
    "decay_every_epochs": int,
    "mixup_alpha": float,
    "folds": int,
    "excerpt_samples": int,
    "normalise_peak": bool,
    "mask_noisy": float,
    "unverified_weight": float,
    "patience_epochs": int,
    "keep": str,
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
  "runtime": _RUNTIME
  | {
    "lane_chunks": int,
    "chunk": int,
    "only": str,
    "guards": bool,
    "distributed": str,
  },
}
UNIVERSAL_KEYS = {
  "workdir": str,
  "seed": int,
  "victim": str,
  "test_victims": str,
  "data": _DATA | {"split": str, "test_split": str},
  "target": str,
  "precision": str,
  "attacks": dict,
  "mask": {"start_s": float, "end_s": float, "low_hz": float, "high_hz": float},
  "train": {"epochs": int, "batch": int, "test_every_epochs": int},
  "runtime": _RUNTIME
  | {
    "batch_chunks": int,
    "checkpoint_every_epochs": int,
    "guards": bool,
    "distributed": str,
  },
}
TRANSFER_KEYS = {
  "workdir": str,
  "sources": str,
  "victims": str,
  "runtime": _RUNTIME | {"batch_chunks": int, "only": str},
}
TRANSFORMS_KEYS = {
  "workdir": str,
  "seed": int,
  "sources": str,
  "victims": str,
  "wavs": str,
  "examples": str,
  "only": str,
  "transforms": dict,
  "runtime": _RUNTIME | {"batch_chunks": int},
}
REPORT_KEYS = {"runs": str, "out": str}
_MODEL = TRAIN_KEYS["model"]
BENCH_KEYS = {  # by the config's kind
  "limit": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "classes": int,
    "precision": str,
    "lanes": int,
    "repeats": int,
    "model": _MODEL,
    "attacks": dict,
  },
  "layers": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "batch": int,
    "repeats": int,
    "width": float,
    "only": str,
  },
  "queue": {
    "kind": str,
    "workdir": str,
    "victim": str,
    "data": ATTACK_KEYS["data"],
    "targets": str,
    "attacks": dict,
    "runtime": _RUNTIME | {"lane_chunks": int, "chunk": int},
  },
  "scale": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "steps": int,
    "grows": {"examples": tuple, "lanes": tuple, "devices": tuple, "chunks": tuple},
    "model": _MODEL,
  },
  "data": {
    "kind": str,
    "workdir": str,
    "data": _DATA | {"split": str},
    "clips": int,
    "repeats": int,
  },
  "transforms": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "data": _DATA | {"split": str},
    "clips": int,
    "victim": str,
    "model": _MODEL,
    "batch": int,
    "transforms": dict,
  },
  "peers": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "victims": str,
    "data": _DATA | {"split": str},
    "clips": int,
    "rms": float,
    "only": str,
    "compared": dict,
    "runtime": {"threads": int, "libraries": str, "redo": str, "limit_s": int},
  },
  "speed": {
    "kind": str,
    "workdir": str,
    "seed": int,
    "victim": str,
    "data": _DATA | {"split": str},
    "clips": int,
    "rms": float,
    "batches": tuple,
    "repeats": int,
    "compared": dict,
    "runtime": {"threads": int, "libraries": str, "limit_s": int},
  },
}
_AT_LEAST = {  # smallest value of a number; the rest is checked where it is used
  "seed": 0,
  "data.band_limit_hz": 0,
  "data.clips_per_class": 0,
  "classes": 2,
  "lanes": 1,
  "repeats": 1,
  "clips": 1,
  "rms": 1e-6,
  "batch": 1,
  "width": 1 / 512,
  "model.width": 1 / 512,
  "model.bn_momentum": 0,
  "train.batch": 1,
  "train.epochs": 1,
  "train.learning_rate": 0,
  "train.decay": 0,
  "train.decay_every_epochs": 1,
  "train.mixup_alpha": 0,
  "train.folds": 2,
  "train.excerpt_samples": 1,
  "train.mask_noisy": 0,
  "train.unverified_weight": 0,
  "train.patience_epochs": 0,
  "train.test_every_epochs": 0,
  "mask.start_s": 0,
  "mask.end_s": 0,
  "mask.low_hz": 0,
  "mask.high_hz": 0,
  "runtime.threads": 1,
  "runtime.processes": 0,
  "runtime.checkpoint_every_epochs": 1,
  "runtime.batch_chunks": 1,
  "runtime.lane_chunks": 0,
  "runtime.chunk": -1,
  "runtime.limit_s": 0,
}
_AT_MOST = {
  "seed": 2**31 - 1,
  "model.bn_momentum": 1,
  "train.mask_noisy": 1,
  "train.unverified_weight": 1,
}
PRECISIONS = ("highest", "default", "bfloat16")
_CHOICES = {
  "precision": PRECISIONS,
  "train.keep": ("last", "best"),
  "wavs": ("wav", "wav_pcm16"),
  "examples": ("successes", "all"),
}


def folders(settings: Mapping[str, Any], key: str) -> list[str]:
  """The folders that settings[key] lists, "DIR,DIR". InputError for none."""
  found = [folder for folder in settings[key].split(",") if folder]
  if not found:
    raise InputError(f"{key} names no folder: give --config.{key}=DIR,DIR")
  return found


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
      check_value(name, value, kind)


def check_value(name, value, kind):
  accepted = (int, float) if kind is float else kind
  if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
    raise InputError(f"{name} is {value!r}: give a value of type {kind.__name__}")
  smallest = _AT_LEAST.get(name)
  if smallest is not None and not value >= smallest:
    raise InputError(f"{name} is {value!r}: give at least {smallest}")
  largest = _AT_MOST.get(name)
  if largest is not None and not value <= largest:
    raise InputError(f"{name} is {value!r}: give at most {largest}")
  choices = _CHOICES.get(name)
  if choices and value not in choices:
    raise InputError(f"{name} is {value!r}: choose from {', '.join(choices)}")
