"""Where names in a config become objects."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxadv import problem
from jaxadv.attacks import ATTACKS, survey
from jaxadv.core import GOALS, Attack, Bind, Goal
from jaxadv.data import CLASSES, Dataset, read_dataset
from jaxadv.ensemble import ENSEMBLES, Stage
from jaxadv.errors import InputError
from jaxadv.keys import check_value
from jaxadv.losses import LOSSES, Objective, targeted, untargeted
from jaxadv.models import FRONTENDS, MODELS, WAVEFORMS, Classifier
from jaxadv.norms import NORMS
from jaxadv.problem import BUDGETS, Threat
from jaxadv.transforms import TRANSFORMS, Transform, chain
from jaxadv.transforms.twins import Twin, twin


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
  make = _lookup(MODELS, model["network"], "model.network")
  frontend = _lookup(FRONTENDS, model["frontend"], "model.frontend")
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


class AttackPlan(NamedTuple):
  """One entry of `attacks` in a config. stages: one, or those of an ensemble.

  goal: of every stage; None: each attack's own. through: twins of the transforms that
  the attack knows of, all of them between it and the victim in every step, each `draws`
  times.
  """

  stages: tuple[Stage, ...]
  threat: Threat
  goal: Goal | None
  through: tuple[Twin, ...] = ()
  draws: tuple[int, ...] = ()

  def bind(self, logits_fn: Callable, stage: Stage) -> Bind:
    """The problem of a stage: the victim, behind the transforms if there are any."""
    if not self.through:
      return problem.bind(logits_fn, self.threat, stage.objective)
    return problem.bind_through(
      logits_fn, self.threat, stage.objective, self.through, self.draws
    )

  @property
  def attack(self) -> Attack:
    return self.stages[0].attack

  @property
  def objective(self) -> Objective:
    return self.stages[0].objective


_THREAT_KEYS = (
  *("method", "norm", "radius", "budget", "loss", "confidence", "goal"),
  *("through", "draws", "survey"),
)


# logits, by the precision of the attack: about as far as rounding moves a margin. What
# wins by less is not counted on (BUILD.md, "Folded batch norms, and bfloat16")
CONFIDENCE = {"highest": 0.0, "default": 0.0, "bfloat16": 0.2}


def attack_plan(
  name: str, entry: Mapping[str, Any], *, target: bool, precision: str = "default"
) -> AttackPlan:
  """An entry such as {"method": "pgd", "norm": "l2", "radius": 40.0, "budget":
  "snr_db", "steps": 40}: method and norm are needed, the rest has defaults.

  precision: of a config; the confidence of the attack where the entry gives none.
  """
  if not isinstance(entry, Mapping):
    raise InputError(f"attacks.{name} is {entry!r}: give a group of keys")
  key = f"attacks.{name}."
  for needed in ("method", "norm"):
    if needed not in entry:
      raise InputError(f"the config lacks {key}{needed}: add it")
  factory = _lookup(ATTACKS | ENSEMBLES, entry["method"], key + "method")
  hyper = {k: v for k, v in entry.items() if k not in _THREAT_KEYS}
  made = _make(factory, hyper, key)
  ensemble = entry["method"] in ENSEMBLES
  if entry.get("survey"):
    made = _surveyed(made, entry["survey"], ensemble or target, key)
  attack = made[-1].attack if ensemble else made
  if attack.norms and entry["norm"] not in attack.norms:
    raise InputError(
      f"{key}norm is {entry['norm']!r}: {entry['method']} is defined for "
      f"{' and '.join(attack.norms)}"
    )
  radius, budget = entry.get("radius"), entry.get("budget", "absolute")
  _check_radius(radius, budget, attack, key)
  if budget == "snr_db" and entry["norm"] == "l0":
    raise InputError(
      f"{key}budget is 'snr_db', which says nothing about how many samples change: "
      "give l0 an absolute or a relative radius"
    )
  confidence = entry.get("confidence", CONFIDENCE[precision])
  check_value(key + "confidence", confidence, float)
  if confidence < 0:
    raise InputError(f"{key}confidence is {confidence!r}: give at least 0")
  if target and not attack.targetable:
    raise InputError(
      f"{key}method {entry['method']!r} has no targeted form: leave it out with "
      "--config.runtime.only=NAME,NAME or clear targets"
    )
  loss = _lookup(LOSSES, entry.get("loss", "cross_entropy"), key + "loss")
  goal = entry.get("goal", "")
  if ensemble and {"loss", "confidence", "goal"} & set(entry):
    raise InputError(
      f"attacks.{name}: {entry['method']} has its own losses and goals: leave loss, "
      "confidence and goal out"
    )
  objective = (targeted if target else untargeted)(loss, float(confidence))
  stages = made if ensemble else (Stage(entry["method"], attack, objective),)
  through, draws = _through(entry, key)
  return AttackPlan(
    tuple(_settled(stage, sum(draws) or 1, objective.confidence) for stage in stages),
    Threat(
      _lookup(NORMS, entry["norm"], key + "norm"),
      float("inf") if radius is None else float(radius),
      budget,
    ),
    _lookup(GOALS, goal, key + "goal") if goal else None,
    through,
    draws,
  )


def _surveyed(attack: Attack, classes: Any, pointless: bool, key: str) -> Any:
  check_value(key + "survey", classes, int)
  if pointless:
    raise InputError(
      f"{key}survey is {classes!r}, which is for untargeted attacks that are no "
      "ensembles: leave it out"
    )
  try:
    return survey(attack, classes)
  except InputError as error:
    raise InputError(f"{key}{error}") from error


def _settled(stage: Stage, draws: int, confidence: float) -> Stage:
  """The stage, whose every pass is one of each of all draws, at least so confident."""
  attack, objective = stage.attack, stage.objective
  return stage._replace(
    attack=attack._replace(
      forward_passes=draws * attack.forward_passes,
      backward_passes=draws * attack.backward_passes,
    ),
    objective=objective._replace(confidence=max(confidence, objective.confidence)),
  )


def _through(
  entry: Mapping[str, Any], key: str
) -> tuple[tuple[Twin, ...], tuple[int, ...]]:
  """Twins of the transforms that an attack goes through, and the draws of each a step.

  A transform of which all draws are alike has one.
  """
  draws = entry.get("draws", 1)
  check_value(key + "draws", draws, int)
  if draws < 1:
    raise InputError(f"{key}draws is {draws!r}: give at least 1")
  if not entry.get("through"):
    return (), ()
  twins, counts = [], []
  for name, member in set_members(entry["through"]).items():
    place = ".".join(filter(None, (f"{key}through", name)))
    known = _transform(place, member, name)
    if (found := twin(known)) is None:
      raise InputError(
        f"{place} is {member['transform']!r}, which has no gradient: leave it out, or "
        "give another transform"
      )
    twins.append(found)
    counts.append(draws if known.random else 1)
  return tuple(twins), tuple(counts)


def set_members(through: Any) -> dict[str, Any]:
  """The transforms of a set by name: {"transform": "any", NAME: {...}, ...}.

  Of another transform itself, its name "".
  """
  if not isinstance(through, Mapping) or through.get("transform") != "any":
    return {"": through}
  members = {name: entry for name, entry in through.items() if name != "transform"}
  if not members:
    raise InputError("a set of transforms, 'any', has no members: add one under a name")
  return members


def _make(factory: Callable, hyper: Mapping[str, Any], key: str) -> Any:
  parameters = inspect.signature(factory).parameters
  for name, value in hyper.items():
    if name not in parameters:
      extra = _THREAT_KEYS if key.startswith("attacks.") else ("transform",)
      known = ", ".join([*extra, *parameters])
      raise InputError(f"{key}{name} is no parameter of this method: known are {known}")
    check_value(key + name, value, type(parameters[name].default))
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
  check_value(key + "radius", radius, float)
  if not math.isfinite(radius):
    raise InputError(f"{key}radius is {radius!r}: give a finite number")
  if budget != "snr_db" and not radius > 0:
    raise InputError(f"{key}radius is {radius!r}: give more than 0")


def transforms(entries: Mapping[str, Any]) -> list[Transform]:
  """The group `transforms` of a config: NAME -> {"transform": "mp3", "bitrate_kbit":
  48}. {"transform": "chain", ...} holds the links, in the order of their names."""
  if not entries:
    raise InputError("the config lists no transforms: add one to `transforms`")
  return [
    _transform(f"transforms.{name}", entry, name) for name, entry in entries.items()
  ]


def _transform(key: str, entry: Any, name: str) -> Transform:
  if not isinstance(entry, Mapping) or "transform" not in entry:
    raise InputError(f"{key} is {entry!r}: give a group with the key transform")
  rest = {k: v for k, v in entry.items() if k != "transform"}
  if entry["transform"] == "chain":
    links = [_transform(f"{key}.{k}", rest[k], k) for k in sorted(rest)]
    return chain(*links, name=name)
  factory = _lookup(TRANSFORMS, entry["transform"], f"{key}.transform")
  return _make(factory, rest, f"{key}.")._replace(name=name)
