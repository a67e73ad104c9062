"""The guards on a few clips of a run, before its first attack: guards.json."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import entries, guards, inputs, problem, workdir
from jaxadv.core import Example
from jaxadv.errors import InputError
from jaxadv.jobs import feed
from jaxadv.record import Job
from jaxadv.victim import Victim

_CLIPS = 4


def inspect_run(
  plans: Mapping[str, entries.AttackPlan],
  victim: Victim,
  buckets: Sequence[tuple[int, Sequence[Job]]],
  settings: Mapping[str, Any],
  folder: Path,
) -> list[str]:
  """Writes guards.json, and returns one sentence for each flag.

  Done once for a list of attacks: a run that goes on does not look again. InputError
  for what no attack can use.
  """
  path = folder / "guards.json"
  told = json.loads(path.read_text()) if path.exists() else {"attacks": [], "flags": []}
  if set(plans) <= set(told["attacks"]):
    return []
  chosen = _some_examples(buckets, settings)
  if not chosen:
    return []
  began = time.perf_counter()
  stack = jax.tree.map(lambda *leaves: np.stack(leaves), *(e for _, e in chosen))
  files = {int(example.id): job.clip.file for job, example in chosen}
  flags = {flag["name"]: flag for flag in told["flags"]} | {
    flag.name: {
      "name": flag.name,
      "said": flag.said,
      "examples": [files[id] for id in flag.examples],
    }
    for flag in _inspect(plans, victim, stack, settings["seed"])
  }
  told = {
    "attacks": sorted({*told["attacks"], *plans}),
    "clips": list(files.values()),
    "seconds": round(time.perf_counter() - began, 2),
    "flags": list(flags.values()),
  }
  workdir.write_text(path, json.dumps(told, indent=1))
  return [f"guard {flag['name']}: {flag['said']}" for flag in told["flags"]]


def _some_examples(buckets, settings) -> list[tuple[Job, Example]]:
  """Up to 4 usable clips of the shortest bucket that has one, spread over it."""
  for _, jobs in buckets:
    each = list({job.clip.file: job for job in reversed(jobs)}.values())[::-1]
    spread = [each[at] for at in _spread(len(each), 3 * _CLIPS)]
    held: dict[int, tuple[Job, Example, int]] = {}
    usable = feed(spread, settings, held, {}, say=lambda said: None)
    examples = list(itertools.islice(usable, _CLIPS))
    if examples:
      return [(held[int(example.id)][0], example) for example in examples]
  return []


def _spread(count: int, most: int) -> list[int]:
  """Up to `most` of range(count); any first few of them are spread over it too."""
  every = np.linspace(0, count - 1, min(count, most)).round().astype(int)
  step = max(1, len(every) // _CLIPS)
  return [int(at) for start in range(step) for at in every[start::step]]


def _inspect(plans, victim, stack, seed):
  """The flags; every attack's own radius, targets and loss are checked on the way."""
  key, count = jax.random.key(seed), len(victim.classes)
  for name, plan in plans.items():
    # the victim is traced once, below
    bind = problem.bind(lambda params, x: jnp.zeros(count), plan.threat, plan.objective)
    try:
      inputs.check_examples(bind, None, key, stack, plan.attack)
      for stage in plan.stages:
        _trace(stage.attack, bind(None, key, jax.tree.map(lambda leaf: leaf[0], stack)))
    except InputError as error:
      raise InputError(f"attacks.{name}: {error}") from error
  sighted = [plan for plan in plans.values() if plan.attack.backward_passes]
  plan = (sighted or list(plans.values()))[0]
  bind = problem.bind(victim.logits, plan.threat, plan.objective)
  objectives = [plan.objective for plan in sighted]
  return guards.inspect_victim(bind, victim.variables, key, stack, objectives)


def _trace(attack, task):
  """A step of the attack, not run; InputError where the victim does not suit it."""

  def step(key):
    return attack.step(key, attack.init(key, task), task)

  jax.eval_shape(step, jax.random.key(0))
