"""A trained victim on disk: what it is (victim.json) and its variables (orbax)."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxadv import build, keys
from jaxadv.errors import InputError
from jaxadv.models import Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.workdir import write_text


class Victim(NamedTuple):
  """name: for rows. variables: all that `model.apply` needs."""

  name: str
  model: Classifier
  variables: Any
  classes: tuple[str, ...]
  digest: str  # of the variables

  def logits(self, variables: Any, x: jax.Array) -> jax.Array:
    """variables, one clip [samples] -> [classes]."""
    return cast(jax.Array, self.model.apply(variables, x))


def save_victim(
  folder: Path, model: Mapping[str, Any], classes: tuple[str, ...], variables: Any
) -> None:
  """model: the group of that name in the config. victim.json is written last."""
  path = folder.resolve() / "variables"
  shutil.rmtree(path, ignore_errors=True)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, variables)
  described = {"model": dict(model), "classes": list(classes)}
  write_text(folder / "victim.json", json.dumps(described, indent=1))


def load_victim(path: str) -> Victim:
  """InputError where the checkpoint is missing, damaged, or of another architecture."""
  folder = build.victim_folder(path)
  try:
    described = json.loads((folder / "victim.json").read_text())
    spec, classes = described["model"], tuple(described["classes"])
  except (ValueError, KeyError, TypeError, OSError) as error:
    raise InputError(
      f"{path}/victim.json is damaged ({error}): train the victim again"
    ) from error
  keys.check({"model": spec}, {"model": keys.TRAIN_KEYS["model"]})
  model = build.classifier(spec, len(classes))
  expected = _shapes_here(model)
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      saved = checkpointer.metadata(folder.resolve() / "variables").item_metadata
      if saved is None:
        raise ValueError("its list of arrays can't be read")
      _compare(path, saved, expected)
      variables = checkpointer.restore(folder.resolve() / "variables", expected)
  except InputError:
    raise
  except Exception as error:  # orbax raises whatever its storage layer does
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"the checkpoint in {path}/variables is missing or damaged ({reason}): train the "
      "victim again, or give another one"
    ) from error
  return Victim(folder.name, model, variables, classes, _digest(variables))


def _shapes_here(model):
  """The variables' shapes, on this host's first device: a checkpoint remembers the
  devices that it was saved on, which may be another host's."""
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), jnp.zeros(CHUNK_SAMPLES, jnp.float32)
  )
  here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes
  )


def _digest(variables):
  """12 hex digits of all values, in the order of the tree."""
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(variables):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:12]


def _compare(path, saved, expected):
  def shapes(tree):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(at): tuple(leaf.shape) for at, leaf in flat}

  saved, expected = shapes(saved.tree), shapes(expected)
  for at in saved | expected:
    if saved.get(at) != expected.get(at):
      raise InputError(
        f"the checkpoint in {path} is of another architecture than its victim.json: "
        f"{at} has shape {saved.get(at)} and should have {expected.get(at)}; restore "
        "the two files of one training run"
      )
