"""A trained victim: a folder that training wrote, one of ours, or a user's own.

A folder holds what the victim is (victim.json) and its variables, as orbax wrote them
(variables/) or as variables.safetensors.
"""

import importlib.resources
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxadv import build, checkpoint, keys
from jaxadv.errors import InputError
from jaxadv.models import Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.workdir import write_text

_TENSORS = "variables.safetensors"
_SHIPPED = "bundled/"


class Victim(NamedTuple):
  """What is attacked.

  name: for rows. logits: variables, one clip [samples] at 32 kHz, zero-padded to whole
  chunks of 65,536 samples -> [classes]. digest: of the variables. model: where the
  network is one of ours.
  """

  name: str
  logits: Callable[[Any, jax.Array], jax.Array]
  variables: Any
  classes: tuple[str, ...]
  digest: str
  model: Classifier | None = None


def of_function(
  name: str,
  logits: Callable[[Any, jax.Array], jax.Array],
  variables: Any,
  classes: Sequence[str],
) -> Victim:
  """A victim of any differentiable function: see `Victim` for what it is given.

  variables: a tree of arrays, passed on as they are. A network at another sample rate
  resamples inside `logits`; one that gives probabilities takes their log.
  """
  variables = jax.tree.map(jnp.asarray, variables)
  return Victim(name, logits, variables, tuple(classes), checkpoint.digest(variables))


def of_flax(
  name: str,
  module: nn.Module,
  path: str | Path,
  classes: Sequence[str],
  *,
  inputs: Callable[[jax.Array], Any] = lambda x: x[None],
  outputs: Callable[[Any], jax.Array] = lambda y: y[0],
) -> Victim:
  """A victim of any Flax linen module and its variables on disk.

  path: a folder that orbax wrote, or a .safetensors file whose names are the places in
  the tree joined by "/" (params/Dense_0/kernel). inputs: a clip [samples] to what the
  module takes, a batch of one by default; outputs: what it gives to logits [classes].
  InputError where the file is missing, damaged or of another architecture.
  """

  def logits(variables, x):
    return outputs(module.apply(variables, inputs(x)))

  def init():
    return module.init(jax.random.key(0), inputs(jnp.zeros(CHUNK_SAMPLES)))

  variables = checkpoint.read_variables(Path(path), init)
  return of_function(name, logits, variables, classes)


def save_victim(
  folder: Path, model: Mapping[str, Any], classes: tuple[str, ...], variables: Any
) -> None:
  """model: the group of that name in the config. victim.json is written last."""
  checkpoint.write_orbax(folder / "variables", variables)
  _describe(folder, model, classes)


def export_victim(victim: Victim, model: Mapping[str, Any], folder: Path) -> None:
  """The same as one safetensors file, which any library reads."""
  folder.mkdir(parents=True, exist_ok=True)
  checkpoint.write_safetensors(folder / _TENSORS, victim.variables)
  _describe(folder, model, victim.classes)


def _describe(folder, model, classes):
  described = {"model": dict(model), "classes": list(classes)}
  write_text(folder / "victim.json", json.dumps(described, indent=1))


def load_victim(path: str) -> Victim:
  """The victim that a config names: a folder, "bundled/NAME" or "FILE.py:FUNCTION".

  InputError where there is none, or where its checkpoint is missing, damaged, or of
  another architecture than its victim.json.
  """
  if ":" in path:
    return _import_victim(path)
  folder = _folder_of(path)
  described = describe_victim(path)
  spec, classes = described["model"], tuple(described["classes"])
  model = build.classifier(spec, len(classes))
  tensors = folder / _TENSORS
  variables = checkpoint.read_variables(
    tensors if tensors.exists() else folder / "variables",
    lambda: model.init(jax.random.key(0), jnp.zeros(CHUNK_SAMPLES, jnp.float32)),
  )

  def logits(variables, x):
    return cast(jax.Array, model.apply(variables, x))

  return Victim(
    folder.name, logits, variables, classes, checkpoint.digest(variables), model
  )


def load_victims(listed: str) -> dict[str, Victim]:
  """path -> victim, of "PATH,PATH" as `load_victim` takes them.

  InputError where there is none, and where two have the same name: rows go by it.
  """
  paths = [path for path in listed.split(",") if path]
  if not paths:
    raise InputError("no victim is named: give the folder of a trained one")
  victims = [load_victim(path) for path in paths]
  names = [victim.name for victim in victims]
  for name in names:
    if names.count(name) > 1:
      raise InputError(
        f"two victims of {listed!r} are called {name!r}: rename one of their folders, "
        "since rows go by the name"
      )
  return dict(zip(paths, victims, strict=True))


def describe_victim(path: str) -> dict[str, Any]:
  """victim.json of a folder: model (a group of a config) and classes."""
  try:
    described = json.loads((_folder_of(path) / "victim.json").read_text())
    spec = {"options": {}} | described["model"]
    described = {"model": spec, "classes": list(described["classes"])}
  except (ValueError, KeyError, TypeError, OSError) as error:
    raise InputError(
      f"{path}/victim.json is damaged ({error}): train the victim again"
    ) from error
  keys.check({"model": spec}, {"model": keys.TRAIN_KEYS["model"]})
  return described


def _folder_of(path: str) -> Path:
  """The folder of a trained victim; InputError where it is none."""
  folder = Path(path)
  if path.startswith(_SHIPPED):
    trained = Path(str(importlib.resources.files("jaxadv"))) / "models" / "trained"
    folder = trained / path.removeprefix(_SHIPPED)
    if not (folder / "victim.json").is_file():
      names = sorted(_SHIPPED + at.parent.name for at in trained.glob("*/victim.json"))
      raise InputError(f"victim is {path!r}: choose from {', '.join(names)}")
  if not (folder / "victim.json").is_file():
    raise InputError(
      f"victim {path!r} is no folder of a trained victim (no victim.json in it): train "
      "one with experiments/train.py, or give another folder with --config.victim=DIR"
    )
  return folder


def _import_victim(path: str) -> Victim:
  """What FUNCTION() of "FILE.py:FUNCTION" or "MODULE:FUNCTION" returns."""
  place, _, name = path.rpartition(":")
  try:
    if place.endswith(".py"):
      spec = importlib.util.spec_from_file_location(Path(place).stem, place)
      assert spec and spec.loader
      module = importlib.util.module_from_spec(spec)
      # as Python itself does: a module may look itself up while it is read
      sys.modules.setdefault(spec.name, module)
      spec.loader.exec_module(module)
    else:
      module = importlib.import_module(place)
    function = getattr(module, name)
  except (ImportError, OSError, AttributeError, ValueError) as error:
    raise InputError(
      f"victim {path!r} can't be imported ({error}): give FILE.py:FUNCTION, a function "
      "without arguments that returns a jaxadv.victim.Victim"
    ) from error
  if not callable(function) or _needs_arguments(function):
    raise InputError(
      f"victim {path!r} is no function without arguments: give one that returns a "
      "jaxadv.victim.Victim"
    )
  victim = function()
  if not isinstance(victim, Victim):
    raise InputError(
      f"victim {path!r} gave a {type(victim).__name__}: let the function return "
      "jaxadv.victim.of_function(...) or of_flax(...)"
    )
  return _checked(victim, path)


def _needs_arguments(function) -> bool:
  parameters = inspect.signature(function).parameters.values()
  return any(
    p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    for p in parameters
  )


def _checked(victim: Victim, path: str) -> Victim:
  """InputError where the logits of a clip are not one vector over the classes."""
  clip = jax.ShapeDtypeStruct((CHUNK_SAMPLES,), jnp.float32)
  try:
    out = jax.eval_shape(victim.logits, victim.variables, clip)
  except Exception as error:  # whatever the user's function raises
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"the logits of victim {path!r} can't be traced on a clip of {CHUNK_SAMPLES} "
      f"samples ({type(error).__name__}: {reason}): mend the function"
    ) from error
  if getattr(out, "shape", None) != (len(victim.classes),):
    raise InputError(
      f"the logits of victim {path!r} are {out} for one clip: give one vector of shape "
      f"({len(victim.classes)},), a number for each of its classes"
    )
  return victim
