"""A victim's variables on disk: as orbax wrote them, or as safetensors; no pickle."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
from flax import traverse_util

from jaxadv.errors import InputError
from jaxadv.workdir import write_bytes


def write_orbax(path: Path, variables: Any) -> None:
  """Writes a folder, in place of the one that was there."""
  shutil.rmtree(path, ignore_errors=True)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path.resolve(), variables)


def write_safetensors(path: Path, variables: Any) -> None:
  """Writes one file; an array is named by its place: params/network/Conv_0/kernel."""
  flat = traverse_util.flatten_dict(variables, sep="/")
  arrays = {name: np.asarray(leaf) for name, leaf in flat.items()}
  write_bytes(path, safetensors.numpy.save(arrays))


def read_variables(path: Path, init: Callable[[], Any]) -> Any:
  """The variables in an orbax folder or a safetensors file.

  init: gives variables of the right shapes; traced only. InputError where they are
  missing, damaged or of other shapes.
  """
  expected = _shapes(init)
  try:
    if path.is_file():
      flat = safetensors.numpy.load(path.read_bytes())
      saved = traverse_util.unflatten_dict(flat, sep="/")
      _compare(path, saved, expected)
      return jax.tree.map(jnp.asarray, saved)
    with ocp.StandardCheckpointer() as checkpointer:
      saved = checkpointer.metadata(path.resolve()).item_metadata
      if saved is None:
        raise ValueError("its list of arrays can't be read")
      _compare(path, saved.tree, expected)
      return checkpointer.restore(path.resolve(), expected)
  except InputError:
    raise
  except Exception as error:  # orbax raises whatever its storage layer does
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"the checkpoint in {path} is missing or damaged ({reason}): train the victim "
      "again, or give another one"
    ) from error


def digest(variables):
  """12 hex digits of all values, in the order of the tree."""
  found = hashlib.sha256()
  for leaf in jax.tree.leaves(variables):
    found.update(np.ascontiguousarray(leaf).tobytes())
  return found.hexdigest()[:12]


def _compare(path, saved, expected):
  def shapes(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(at): tuple(leaf.shape) for at, leaf in flat}

  saved, expected = shapes(saved), shapes(expected)
  for at in saved | expected:
    if saved.get(at) != expected.get(at):
      raise InputError(
        f"the checkpoint in {path} is of another architecture than its network: {at} "
        f"has shape {saved.get(at)} and should have {expected.get(at)}; restore "
        "the two files of one training run"
      )


def _shapes(init):
  """The variables' shapes, on this host's first device: a checkpoint remembers the
  devices that it was saved on, which may be another host's."""
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
    jax.eval_shape(init),
  )
