"""How much of what the lanes compute is of use, on a queue of mixed clips.

Each attack runs over clips mixed in difficulty and length, as a run does: bucket by
bucket, lanes refilled as they end. A lane-step is useful where it brings an example
further; the rest is idle lanes at the tail of a bucket, and steps after an end that the
host has not seen yet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benches.timing import Measured, bars, machine
from jaxadv import attack_run, build, drive, engine, entries, jobs, memory
from jaxadv.core import Example
from jaxadv.report.tables import Table
from jaxadv.victim import Victim, load_victim


def run(settings: Mapping[str, Any]) -> Measured:
  """One row per attack."""
  victim = load_victim(settings["victim"])
  dataset = build.dataset(settings["data"], settings["data"]["split"], victim.classes)
  buckets = [
    (chunks, list(jobs.feed(some, settings, {}, {})))
    for chunks, some in jobs.choose_jobs(dataset, settings)
  ]
  rows, shares = [], {}
  for name, entry in settings["attacks"].items():
    plan = entries.attack_plan(name, entry, target=False)
    plan = plan.against(len(victim.classes))
    cells, shares[name] = row(plan, victim, buckets, settings)
    rows.append((name, *cells))
  clips = sum(len(examples) for _, examples in buckets)
  table = Table(
    f"Useful lane-steps on {clips} clips of {len(buckets)} lengths",
    (
      *("attack", "useful %", "steps, mean", "longest", "lane-steps"),
      *("stepping s", "compiling s", "ms per useful chunk-step"),
    ),
    rows,
    f"{machine()}; {sum(n * len(e) for n, e in buckets)} chunks of 65,536 samples",
  )
  return Measured(table, bars(shares, "useful lane-steps, %", goal=95))


def row(
  plan: entries.AttackPlan,
  victim: Victim,
  buckets: Sequence[tuple[int, Sequence[Example]]],
  settings: Mapping[str, Any],
) -> tuple[tuple[str, ...], float]:
  """Cells of an attack, and its useful share in %. Weighted by the clips' lengths."""
  devices = jax.local_devices()
  placed: tuple[Any, jax.Array]
  placed = engine.replicate((plan.params(victim.variables), jax.random.key(0)), devices)
  steps, useful, computed, seconds, compiling = [], 0, 0, 0.0, 0.0
  for chunks, examples in buckets:
    chosen = attack_run.choose_lanes(chunks, len(examples), settings)
    passes = plan.attack.forward_passes, plan.attack.backward_passes
    first, most = (memory.lanes_for(n, *passes) for n in chosen)
    compiled = engine.compile_lanes(
      drive.driver(plan.attack, plan.bind(victim.logits, plan.stages[0]), plan.goal),
      *placed,
      examples[0],
      lanes=first,
      chunk=settings["runtime"]["chunk"] or engine.default_chunk(devices),
      devices=devices,
    )
    compiled = engine.fit(compiled, most)
    compiling += compiled.seconds
    for look in engine.run(compiled, *placed, examples):
      steps += [outcome.steps for outcome in look.outcomes]
      useful += chunks * sum(outcome.steps for outcome in look.outcomes)
      computed += chunks * look.lane_steps
      seconds, compiling = seconds + look.seconds, compiling + look.compiling
  share = 100 * useful / computed
  cells = (f"{share:.1f}", f"{np.mean(steps):.1f}", str(max(steps)), str(computed))
  times = (f"{seconds:.1f}", f"{compiling:.1f}", f"{1e3 * seconds / useful:.2f}")
  return cells + times, share
