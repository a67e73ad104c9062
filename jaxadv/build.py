"""Where names in a config become objects: data, networks, transforms.

Those of attacks: entries.py.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxadv.data import CLASSES, Dataset, read_dataset
from jaxadv.errors import InputError
from jaxadv.keys import check_value
from jaxadv.models import FRONTENDS, MODELS, WAVEFORMS, Classifier
from jaxadv.transforms import TRANSFORMS, Transform, chain, custom


def files_read(config: Mapping[str, Any]) -> dict[str, str]:
  """The files that transforms in a config name: name -> 12 hex digits of the file."""
  found = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      found |= files_read(value)
    elif key in ("function", "impulse_response") and value:
      place = value.rpartition(":")[0] if key == "function" else value
      path = custom.file_of(place) if key == "function" else Path(place)
      if path is not None and path.is_file():
        found[place] = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
  return found


def lookup(table: Mapping[str, Any], name: str, key: str) -> Any:
  """table[name]; InputError, which says what there is, where `key` names none."""
  if name not in table:
    raise InputError(f"{key} is {name!r}: choose from {', '.join(table)}")
  return table[name]


def dataset(
  data: Mapping[str, Any], split: str, classes: Sequence[str] | None = None
) -> Dataset:
  """The clips that the group `data` of a config names."""
  vocabulary = lookup(
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
  make = lookup(MODELS, model["network"], "model.network")
  frontend = lookup(FRONTENDS, model["frontend"], "model.frontend")
  gives = "waveform" if model["frontend"] in WAVEFORMS else "spectrogram"
  if gives != make.takes:
    others = [
      name for name in FRONTENDS if (name in WAVEFORMS) != (gives == "waveform")
    ]
    raise InputError(
      f"model.frontend is {model['frontend']!r}, and {model['network']} takes a "
      f"{make.takes}: choose from {', '.join(others)}"
    )
  options = _options(make, model["options"])
  return Classifier(
    frontend, make(classes, model["width"], model["bn_momentum"], **options)
  )


def _options(make: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
  """What only this network has; InputError for another name, type or size."""
  common = ("classes", "width", "bn_momentum", "parent", "name")
  known = {
    name: parameter.default
    for name, parameter in inspect.signature(make).parameters.items()
    if name not in common
  }
  for name, value in options.items():
    key = f"model.options.{name}"
    if name not in known:
      listed = ", ".join(known) or "none for this network"
      raise InputError(f"{key} is no option of the network: known are {listed}")
    check_value(key, value, type(known[name]))
    if not value >= 1:
      raise InputError(f"{key} is {value!r}: give at least 1")
    if name == "kernel" and not value % 2:
      raise InputError(f"{key} is {value!r}: give an odd number")
  return dict(options)


def make(
  factory: Callable, hyper: Mapping[str, Any], key: str, extra: Sequence[str] = ()
) -> Any:
  """factory(**hyper); InputError for another name or type, or what the factory refuses.

  extra: names beside them, which are not the factory's.
  """
  parameters = inspect.signature(factory).parameters
  for name, value in hyper.items():
    if name not in parameters:
      known = ", ".join(dict.fromkeys([*extra, *parameters]))
      raise InputError(f"{key}{name} is no parameter of this method: known are {known}")
    check_value(key + name, value, type(parameters[name].default))
  try:
    return factory(**hyper)
  except InputError as error:
    raise InputError(f"{key}{error}") from error


def transforms(entries: Mapping[str, Any]) -> list[Transform]:
  """The group `transforms` of a config: NAME -> {"transform": "mp3", "bitrate_kbit":
  48}. {"transform": "chain", ...} holds the links, in the order of their names."""
  if not entries:
    raise InputError("the config lists no transforms: add one to `transforms`")
  return [
    transform(f"transforms.{name}", entry, name) for name, entry in entries.items()
  ]


def transform(key: str, entry: Any, name: str) -> Transform:
  """One entry of such a group; key: its place in the config."""
  if not isinstance(entry, Mapping) or "transform" not in entry:
    raise InputError(f"{key} is {entry!r}: give a group with the key transform")
  rest = {k: v for k, v in entry.items() if k != "transform"}
  if entry["transform"] == "chain":
    links = [transform(f"{key}.{k}", rest[k], k) for k in sorted(rest)]
    return chain(*links, name=name)
  known = {"chain": chain, **TRANSFORMS}
  factory = lookup(known, entry["transform"], f"{key}.transform")
  return make(factory, rest, f"{key}.", ("transform",))._replace(name=name)
