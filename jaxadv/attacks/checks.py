"""Ranges of hyper-parameters."""

from jaxadv.errors import InputError


def require(holds: bool, name: str, value, expected: str) -> None:
  """InputError unless it holds: "steps is -1: give at least 1"."""
  if not holds:
    raise InputError(f"{name} is {value!r}: give {expected}")
