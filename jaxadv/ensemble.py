"""Several attacks in turn, the later ones on what survived the earlier: worst case."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv import drive, engine, problem
from jaxadv.attacks import apgd, apgd_targeted, fab, square
from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Example
from jaxadv.errors import InputError
from jaxadv.inputs import check_answers, check_examples
from jaxadv.losses import Objective, untargeted


class Stage(NamedTuple):
  """One attack of an ensemble, with the objective that it goes down."""

  name: str
  attack: Attack
  objective: Objective


class Cost(NamedTuple):
  """What an example took."""

  steps: int = 0
  forward_passes: int = 0
  backward_passes: int = 0
  seconds: float = 0.0

  def after(self, attack: Attack, outcome: engine.Outcome) -> "Cost":
    """With that of one more attack."""
    return Cost(
      self.steps + outcome.steps,
      self.forward_passes + outcome.steps * attack.forward_passes,
      self.backward_passes + outcome.steps * attack.backward_passes,
      self.seconds + outcome.seconds,
    )


class Found(NamedTuple):
  """An example at its end. stage: index of the one that it fell to, or of the last.

  cost: of all stages that it went through. watch: likewise.
  """

  stage: int
  outcome: engine.Outcome
  cost: Cost
  watch: drive.Watch


def autoattack(
  *, norm: str = "linf", steps: int = 100, targets: int = 0, queries: int = 5000
) -> tuple[Stage, ...]:
  """AutoAttack's standard evaluation, untargeted, in l1, l2 or linf.

  APGD on the cross-entropy, APGD towards `targets` classes on the targeted DLR loss,
  FAB towards as many, each of `steps` steps a run, and Square with `queries`. Victims
  with fewer than 4 classes have no targeted DLR loss: InputError.
  norm: of the threat. In l1 APGD has five runs, and its radius shrinks to the wanted
  one. targets: 0: 9, and in l1 5 for APGD.
  Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
  diverse parameter-free attacks, ICML 2020; in l1: Croce and Hein, Mind the box, ICML
  2021; and the authors' code (standard version).
  """
  require(norm in ("l1", "l2", "linf"), "norm", norm, "one of l1, l2, linf")
  any_other, sparse = untargeted(), norm == "l1"
  towards = apgd_targeted(
    steps=steps, targets=targets or (5 if sparse else 9), shrink=sparse
  )
  nearer = fab(iterations=steps, targets=targets or 9)
  first = apgd(steps=steps, restarts=5 if sparse else 1, shrink=sparse)
  return (
    Stage("apgd", first, any_other),
    Stage("apgd_targeted", towards, any_other),
    Stage("fab", nearer._replace(goal=FIRST_SUCCESS), any_other),
    Stage("square", square(steps=queries, p_init=0.8, rescale=False), any_other),
  )


ENSEMBLES = {"autoattack": autoattack}


def worst_case(
  stages: Sequence[Stage],
  run_stage: Callable[[Stage, Sequence[int]], Iterator[engine.Look]],
  ids: Iterable[int],
) -> Iterator[tuple[engine.Look, list[Found]]]:
  """Each look of the engine with the examples that came to their end in it.

  run_stage: stage, ids -> looks of `engine.run` over the examples with these ids. An
  example ends with its first success, or with the last stage.
  """
  left = list(ids)
  spent = dict.fromkeys(left, (Cost(), drive.Watch(0, 0, 0, np.inf)))
  for n, stage in enumerate(stages):
    survivors = []
    for look in run_stage(stage, left) if left else ():
      found = []
      for outcome in look.outcomes:
        cost, watch = spent.pop(outcome.id)
        watch = outcome.watch.after(cost.steps, watch)
        cost = cost.after(stage.attack, outcome)
        if outcome.best.success or n == len(stages) - 1:
          found.append(Found(n, outcome, cost, watch))
        else:
          spent[outcome.id] = cost, watch
          survivors.append(outcome.id)
      yield look, found
    left = survivors


def evaluate(
  stages: Sequence[Stage],
  logits_fn: Callable,
  threat: problem.Threat,
  params: Any,
  key: Array,
  batch: Example,
  *,
  lanes: int = 16,
  devices: Sequence[Any] | None = None,
) -> list[Found]:
  """The worst of `stages` for each example of a batch, in the batch's order.

  batch: `core.examples`. lanes: examples at a time on each device. InputError as of
  `drive.solve_batch`.
  """
  for stage in stages:
    bound = problem.bind(logits_fn, threat, stage.objective)
    check_examples(bound, params, key, batch, stage.attack)
  classes = jax.eval_shape(logits_fn, params, batch.x[0]).shape[0]
  stages = [
    one._replace(attack=one.attack.against(classes, one.objective.targeted))
    for one in stages
  ]
  devices = jax.local_devices() if devices is None else list(devices)
  host = jax.tree.map(np.asarray, batch)
  if len(set(host.id.tolist())) < len(host.id):
    raise InputError("two examples of the batch have one id: number them")
  by_id = {
    int(id_): jax.tree.map(lambda leaf, n=n: leaf[n], host)
    for n, id_ in enumerate(host.id)
  }
  first = by_id[int(host.id[0])]
  params, key = engine.replicate((params, key), devices)
  lanes = min(lanes, -(-len(by_id) // len(devices)))

  def run_stage(stage, ids):
    bound = problem.bind(logits_fn, threat, stage.objective)
    compiled = engine.compile_lanes(
      drive.driver(stage.attack, bound),
      params,
      key,
      first,
      lanes=lanes,
      chunk=engine.default_chunk(devices),
      devices=devices,
    )
    return engine.run(compiled, params, key, [by_id[n] for n in ids])

  ended = {}
  for _, found in worst_case(stages, run_stage, by_id):
    ended |= {one.outcome.id: one for one in found}
  found = [ended[int(id_)] for id_ in host.id]
  losses = [one.outcome.best.loss for one in found]
  check_answers(host, losses, [one.outcome.steps for one in found])
  return found
