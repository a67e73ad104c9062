"""A transform of the user's own: any function x -> x."""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from jaxadv.errors import InputError
from jaxadv.transforms.transform import Draws, Transform, no_draws


def user(function: str | Callable[[np.ndarray], np.ndarray] = "") -> Transform:
  """The user's function: x float32 [samples] at 32 kHz -> the same shape.

  function: "file.py:name", "package.module:name", or the function itself. It must give
  the same result for the same x; a name can go to worker processes, and so can a
  function of a module.
  """
  if isinstance(function, str):
    load(function)
    return Transform(function, no_draws, functools.partial(call_named, name=function))
  name = getattr(function, "__name__", repr(function))
  return Transform(name, no_draws, functools.partial(call, function=function))


def call(
  x: np.ndarray, draws: Draws, function: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
  """function(x). [samples] -> [samples]."""
  del draws
  return function(x)


def call_named(x: np.ndarray, draws: Draws, name: str) -> np.ndarray:
  """The function of that name, of x. [samples] -> [samples]."""
  del draws
  return load(name)(x)


@functools.cache
def load(name: str) -> Callable[[np.ndarray], np.ndarray]:
  """The function that "file.py:name" or "package.module:name" names.

  Raises InputError if it can't be had, with the reason.
  """
  place, _, attribute = name.rpartition(":")
  if not place or not attribute:
    raise InputError(f"function is {name!r}: give FILE.py:NAME or MODULE:NAME")
  try:
    found = getattr(_module(place), attribute)
  except Exception as error:  # the user's code may raise anything
    reason = " ".join(str(error).split())
    raise InputError(
      f"function is {name!r}, and loading it failed: {type(error).__name__}: {reason}"
    ) from error
  if not callable(found):
    raise InputError(f"function is {name!r}: that is no function")
  return cast("Callable[[np.ndarray], np.ndarray]", found)


def file_of(place: str) -> Path | None:
  """The file of FILE.py or of a module; None where there is none."""
  if place.endswith(".py"):
    return Path(place)
  try:
    spec = importlib.util.find_spec(place)
  except Exception:  # the package above may raise anything; `load` says what
    return None
  return Path(spec.origin) if spec and spec.origin else None


def _module(place: str):
  if not place.endswith(".py"):
    return importlib.import_module(place)
  if not Path(place).is_file():
    raise FileNotFoundError("there is no such file")
  spec = importlib.util.spec_from_file_location(Path(place).stem, place)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
