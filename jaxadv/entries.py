"""Where an entry of `attacks` in a config becomes a plan."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxadv import problem
from jaxadv.attacks import ATTACKS, repeat, survey
from jaxadv.build import lookup, make, transform
from jaxadv.core import GOALS, Attack, Bind, Goal
from jaxadv.data.audio import CHUNK_SAMPLES
from jaxadv.ensemble import ENSEMBLES, Stage
from jaxadv.errors import InputError
from jaxadv.keys import check_value
from jaxadv.losses import LOSSES, Objective, targeted, untargeted
from jaxadv.norm_lifts import framewise
from jaxadv.norms import NORMS, Norm, unlimited
from jaxadv.problem import BUDGETS, Threat
from jaxadv.transforms.twins import Twin, twin


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
    """The problem of a stage: the victim, behind the transforms if there are any.

    Of `params` of the victim's: the radius is an argument of the program, which entries
    that differ in nothing else share.
    """

    def bound(params, key, example):
      variables, amount = params
      # no budget stays what it is: projections then know that there is no ball
      limited = not unlimited(self.threat.radius)
      threat = self.threat._replace(amount=amount) if limited else self.threat
      if self.through:
        bind = problem.bind_through(
          logits_fn, threat, stage.objective, self.through, self.draws
        )
      else:
        bind = problem.bind(logits_fn, threat, stage.objective)
      return bind(variables, key, example)

    return bound

  def params(self, variables: Any) -> tuple[Any, np.float32]:
    """What the problem of `bind` takes, of a victim's variables."""
    return variables, np.float32(self.threat.given)

  def against(self, classes: int) -> "AttackPlan":
    """The plan, with the passes that it takes with a victim of so many classes."""
    stages = tuple(
      stage._replace(attack=stage.attack.against(classes, stage.objective.targeted))
      for stage in self.stages
    )
    return self._replace(stages=stages)

  @property
  def attack(self) -> Attack:
    return self.stages[0].attack

  @property
  def objective(self) -> Objective:
    return self.stages[0].objective


_THREAT_KEYS = (
  *("method", "norm", "radius", "budget", "loss", "confidence", "goal"),
  *("through", "draws", "survey", "runs", "frame_samples"),
)
# whose whole use of a norm is its step and its ball
_FRAMED = ("white_noise", "fgsm", "bim", "pgd", "nes")


# logits, by the precision of the attack: about as far as rounding moves a margin. What
# wins by less is not counted on (BUILD.md, "Folded batch norms, and bfloat16")
CONFIDENCE = {"highest": 5e-5, "default": 5e-5, "bfloat16": 0.3}


def attack_plan(
  name: str, entry: Mapping[str, Any], *, target: bool, precision: str = "default"
) -> AttackPlan:
  """An entry such as {"method": "pgd", "norm": "l2", "radius": 40.0, "budget":
  "snr_db", "steps": 40}: method and norm are needed, the rest has defaults.
  "frame_samples": 2048 makes the norm that of the largest frame of so many samples.

  precision: of a config; the confidence of the attack where the entry gives none.
  """
  if not isinstance(entry, Mapping):
    raise InputError(f"attacks.{name} is {entry!r}: give a group of keys")
  key = f"attacks.{name}."
  for needed in ("method", "norm"):
    if needed not in entry:
      raise InputError(f"the config lacks {key}{needed}: add it")
  factory = lookup(ATTACKS | ENSEMBLES, entry["method"], key + "method")
  hyper = {k: v for k, v in entry.items() if k not in _THREAT_KEYS}
  ensemble = entry["method"] in ENSEMBLES
  if ensemble:  # its attacks are not the same in all norms
    hyper["norm"] = entry["norm"]
  made = make(factory, hyper, key, _THREAT_KEYS)
  if entry.get("survey"):
    made = _surveyed(made, entry["survey"], ensemble or target, key)
  if "runs" in entry:
    made = _repeated(made, entry["runs"], ensemble, key)
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
  if target and (ensemble or not attack.targetable):
    raise InputError(
      f"{key}method {entry['method']!r} has no targeted form: leave it out with "
      "--config.runtime.only=NAME,NAME or clear targets"
    )
  loss = lookup(LOSSES, entry.get("loss", "cross_entropy"), key + "loss")
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
      _norm(entry, key),
      float("inf") if radius is None else float(radius),
      budget,
    ),
    lookup(GOALS, goal, key + "goal") if goal else None,
    through,
    draws,
  )


def _norm(entry: Mapping[str, Any], key: str) -> Norm:
  norm = lookup(NORMS, entry["norm"], key + "norm")
  if "frame_samples" not in entry:
    return norm
  frame = entry["frame_samples"]
  check_value(key + "frame_samples", frame, int)
  if frame < 1 or CHUNK_SAMPLES % frame:
    raise InputError(
      f"{key}frame_samples is {frame!r}: give a divisor of {CHUNK_SAMPLES}, the "
      "samples of a chunk"
    )
  if entry["method"] not in _FRAMED:
    raise InputError(
      f"{key}frame_samples is {frame!r}, a budget per frame, which {entry['method']} "
      f"can't have: choose from {', '.join(_FRAMED)}"
    )
  return framewise(norm, frame)


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


def _repeated(attack: Attack, runs: Any, ensemble: bool, key: str) -> Any:
  check_value(key + "runs", runs, int)
  if ensemble:
    raise InputError(f"{key}runs is {runs!r}, which no ensemble has: leave it out")
  try:
    return repeat(attack, runs)
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
    if "draws" in entry:
      raise InputError(
        f"{key}draws is {draws!r}, and the attack goes through no transform: give "
        f"{key}through, or leave draws out"
      )
    return (), ()
  twins, counts = [], []
  for name, member in set_members(entry["through"]).items():
    place = ".".join(filter(None, (f"{key}through", name)))
    known = transform(place, member, name)
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


def _check_radius(radius, budget, attack, key):
  lookup(BUDGETS, budget, key + "budget")
  if radius is None:
    if attack.needs_radius:
      raise InputError(f"the config lacks {key}radius: this attack fills its budget")
    if budget != "absolute":
      raise InputError(
        f"the config lacks {key}radius, of which {budget!r} is the budget: add it, or "
        "leave the budget out"
      )
    return
  check_value(key + "radius", radius, float)
  if not math.isfinite(radius):
    raise InputError(f"{key}radius is {radius!r}: give a finite number")
  if budget != "snr_db" and not radius > 0:
    raise InputError(f"{key}radius is {radius!r}: give more than 0")
