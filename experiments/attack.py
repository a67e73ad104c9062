"""Attacks trained victims: `python experiments/attack.py --config=configs/NAME.py`.

Writes rows, WAVs, tables, figures and a listening page to the config's workdir, or to a
folder in it for each victim where `victim` names several. Killed and started again, it
goes on and ends with the same rows.
"""

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxadv import (
  attack_run,
  build,
  cli,
  cluster,
  entries,
  jobs,
  keys,
  preflight,
  record,
  report,
  results,
  workdir,
)
from jaxadv.attacks import ATTACKS
from jaxadv.ensemble import ENSEMBLES
from jaxadv.errors import InputError
from jaxadv.inference import inference
from jaxadv.judge import judge
from jaxadv.victim import Victim, load_victims


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.ATTACK_KEYS)
  share = cluster.join(settings["runtime"]["distributed"])
  plans = choose_plans(settings)
  victims = load_victims(settings["victim"])
  base, gone = Path(settings["workdir"]), set()
  for number, (path, victim) in enumerate(victims.items(), 1):
    own = {}
    if len(victims) > 1:
      print(f"victim {number} of {len(victims)}: {victim.name}", flush=True)
      own = {"victim": path, "workdir": str(base / victim.name)}
    gone |= attack_victim(victim, plans, settings | own, share)
  if gone:
    raise InputError(
      f"process {', '.join(map(str, sorted(gone)))} of 0 to {share[1] - 1} ended "
      "before its share was done: all other clips are stored; start all processes "
      "again, or one without runtime.distributed, for the rest"
    )
  if len(victims) > 1:
    print(
      f"{len(victims)} victims attacked; tables over all of them: python "
      f"experiments/report.py --config=configs/report.py --config.runs={base}"
    )


def attack_victim(
  victim: Victim,
  plans: Mapping[str, entries.AttackPlan],
  settings: dict[str, Any],
  share: tuple[int, int] = (0, 1),
) -> set[int]:
  """All attacks on one victim, into settings["workdir"], and its report.

  share: (index, count) of the processes of this run; the first one reports.
  Returns the indices of those that ended before their share was done.
  """
  dataset = build.dataset(settings["data"], settings["data"]["split"], victim.classes)
  plans = {name: plan.against(len(victim.classes)) for name, plan in plans.items()}
  buckets = jobs.choose_jobs(dataset, settings)
  # a path may come to hold other weights or clips: rows must not be mixed
  found: dict[str, Any] = {
    "victim_weights": victim.digest,
    "clips": jobs.jobs_digest(buckets),
  }
  if files := build.files_read(settings["attacks"]):
    found["files"] = files
  settings["found"] = found
  variables = inference(victim, settings["precision"])
  folder = workdir.claim(settings["workdir"], settings, share[0])
  logits, device = judge(victim.logits), jax.devices()[0].device_kind
  shared = {
    "model": victim.name,
    "seed": settings["seed"],
    "precision": settings["precision"],
    "config_hash": workdir.config_hash(settings),
    "versions": record.versions(),
    "device": f"{jax.device_count()} x {device}",
  }
  if settings["runtime"]["guards"] and share[0] == 0:
    for sentence in preflight.inspect_run(plans, victim, buckets, settings, folder):
      print(sentence, flush=True)
  usages = {}
  for name, plan in plans.items():
    usages[name] = attack_run.run_attack(
      plan,
      victim,
      buckets,
      settings,
      variables=variables,
      folder=folder,
      logits=logits,
      common=shared | {"attack": name},
      clips=dataset.clips,
      done=[row for row in results.read(folder) if row["attack"] == name],
      share=share,
    )
  gone = cluster.wait_for_all()
  if share[0] > 0:
    return gone
  write_run(folder, victim, shared, usages)
  if not results.read(folder):
    raise InputError(f"no clip could be attacked: see {folder}/skipped.csv for why")
  print(report.write_report(folder))
  return gone


def choose_plans(settings: Mapping[str, Any]) -> dict[str, entries.AttackPlan]:
  """name -> plan, of all attacks or of those that runtime.only names."""
  listed, only = settings["attacks"], settings["runtime"]["only"]
  for name in only.split(",") if only else ():
    if name not in listed:
      raise InputError(
        f"runtime.only has {name!r}: the config's attacks are {', '.join(listed)}"
      )
  names = [name for name in listed if not only or name in only.split(",")]
  if "clean" in names:
    raise InputError(
      "an attack is called 'clean', as tables of transforms call the clips: rename it"
    )
  if not names:
    raise InputError("the config lists no attacks: add one to `attacks`")
  asked = {"target": bool(settings["targets"]), "precision": settings["precision"]}
  plans = {name: entries.attack_plan(name, listed[name], **asked) for name in names}
  # a ConfigDict sorts its keys: as in ATTACKS, so that the cheap ones come first
  methods = [*ATTACKS, *ENSEMBLES]
  return dict(
    sorted(plans.items(), key=lambda p: methods.index(listed[p[0]]["method"]))
  )


def write_run(folder, victim, shared, usages):
  """run.json: what the report says of the run as a whole."""
  path = folder / "run.json"
  used = json.loads(path.read_text()).get("usage", {}) if path.exists() else {}
  for name, usage in usages.items():
    if usage.lane_steps:
      used[name] = dataclasses.asdict(usage)
  run = {
    "classes": victim.classes,
    "model": victim.name,
    "command": shlex.join(["python", *sys.argv]),
    "versions": shared["versions"],
    "device": shared["device"],
    "usage": used,
  }
  workdir.write_text(path, json.dumps(run, indent=1))


if __name__ == "__main__":
  cli.run(main)
