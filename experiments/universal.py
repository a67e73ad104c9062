"""Trains one perturbation for a whole data set: `python experiments/universal.py
--config=configs/NAME.py`.

Writes perturbation.npy and .wav, history.csv (a row per epoch), test.csv (what each
victim says of each test clip), universal.md, universal.png, metrics.json, and in
guards.json what makes the victim's numbers doubtful. Killed and started again, it goes
on at its last checkpoint and ends with the same perturbation.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxadv import (
  build,
  cli,
  cluster,
  data,
  keys,
  preflight,
  record,
  universal_run,
  workdir,
)
from jaxadv.data.audio import SAMPLE_RATE_HZ
from jaxadv.errors import InputError
from jaxadv.inference import inference
from jaxadv.judge import judge
from jaxadv.problem import Threat
from jaxadv.report import grid, list_skipped, tables
from jaxadv.report import universal as report
from jaxadv.universal_judge import Heard, Judge, write_test
from jaxadv.universal_step import mask_of, plan_of
from jaxadv.victim import Victim, load_victims

_PEAK = 0.5  # of the perturbation.wav of a budget that follows the clip's loudness
Tested = Mapping[str, Sequence[Heard]]  # victim's name -> rows


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.UNIVERSAL_KEYS)
  plan, _ = plan_of(settings), mask_of(settings)  # before anything is read
  threat = plan.threat
  share = cluster.join(settings["runtime"]["distributed"], together=True)
  listed = [path for path in settings["test_victims"].split(",") if path]
  if not listed:
    raise InputError("test_victims names no victim: give one, the trained on, say")
  if not settings["victim"] or "," in settings["victim"]:
    raise InputError(
      f"victim is {settings['victim']!r}: give one; others belong in test_victims"
    )
  victims = load_victims(",".join(dict.fromkeys([settings["victim"], *listed])))
  victim = victims[settings["victim"]]
  clips = choose_clips(victim, settings, "split")
  judges = judges_of(victims, threat, settings)
  # a path may come to hold other weights or clips: a run must not mix them
  settings["found"] = {
    "victim_weights": {path: one.digest for path, one in victims.items()},
    "clips": digest(clips),
    "test_clips": {path: digest(one.clips) for path, one in judges.items()},
  }
  variables = inference(victim, settings["precision"])
  folder = workdir.claim(settings["workdir"], settings, share[0])
  if (folder / "metrics.json").exists():
    print(f"{folder} is finished: delete it to train again")
    return

  def test(u):
    rows = dicts(judges[settings["victim"]].test(u, noise=False))
    fooled = report.rate(rows, "universal", settings["target"])
    snr_db = report.mean_snr(rows)
    return fooled and fooled.value, snr_db and snr_db.value

  aim = victim.classes.index(settings["target"]) if settings["target"] else -1
  if settings["runtime"]["guards"] and share[0] == 0:
    plans = {next(iter(settings["attacks"])): plan}
    buckets = [
      (chunks, [record.Job(clip.index, clip, aim) for clip in some])
      for chunks, some in data.by_bucket(clips)
    ]
    for sentence in preflight.inspect_run(plans, victim, buckets, settings, folder):
      print(sentence, flush=True)
  cluster.wait_for_all()  # what follows is done together, and waits 30 s at most
  trained = universal_run.train(
    victim,
    clips,
    settings,
    folder,
    variables=variables,
    test=test,
    target=aim,
    share=share,
  )
  # every process judges all of it, and none has to wait; the first one writes
  tested = {victims[path].name: judges[path].test(trained.u) for path in listed}
  if share[0] == 0:
    write(folder, settings, threat, victim.name, trained, tested)
    skipped = workdir.read_skipped(folder)  # of those trained on
    skipped |= {k: v for one in judges.values() for k, v in one.skipped.items()}
    workdir.write_skipped(folder, skipped)
    print(list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())]))


def judges_of(
  victims: Mapping[str, Victim], threat: Threat, settings: Mapping[str, Any]
) -> dict[str, Judge]:
  """path -> each victim with its clips of the test split."""
  judges = {}
  for path, victim in victims.items():
    clips = choose_clips(victim, settings, "test_split")
    logits = judge(victim.logits)
    judges[path] = Judge(victim, logits, clips, threat, settings, {}, {})
  return judges


def choose_clips(
  victim: Victim, settings: Mapping[str, Any], split: str
) -> tuple[data.Clip, ...]:
  """The clips of a split; those of the target class have nothing to become."""
  names, target = victim.classes, settings["target"]
  if target and target not in names:
    raise InputError(
      f"target is {target!r}, which {victim.name} does not know: its classes are "
      f"{', '.join(names)}"
    )
  clips = build.dataset(settings["data"], settings["data"][split], names).clips
  kept = tuple(clip for clip in clips if not target or names[clip.label] != target)
  if not kept:
    raise InputError(
      f"data.{split} has clips of the target {target!r} only: name another"
    )
  return kept


def digest(clips: Sequence[data.Clip]) -> str:
  """12 hex digits of which ids stand for which files and labels."""
  listed = [(clip.index, clip.file, clip.label) for clip in clips]
  return hashlib.sha256(repr(listed).encode()).hexdigest()[:12]


def dicts(rows: Sequence[Heard]) -> list[dict[str, Any]]:
  return [row._asdict() for row in rows]


def write(
  folder: Path,
  settings: Mapping[str, Any],
  threat: Threat,
  trained_on: str,
  trained: universal_run.Trained,
  tested: Tested,
) -> None:
  """All that a finished run holds; metrics.json last: it says that it is finished."""
  peak = float(np.abs(trained.u).max())
  gain = 1.0 if threat.budget == "absolute" or not peak else _PEAK / peak
  file = io.BytesIO()
  np.save(file, trained.u)
  workdir.write_bytes(folder / "perturbation.npy", file.getvalue())
  wav = record.wav_bytes(np.float32(gain) * trained.u, "FLOAT")
  workdir.write_bytes(folder / "perturbation.wav", wav)
  write_test(folder / "test.csv", [row for rows in tested.values() for row in rows])
  said = "perturbation.wav is the perturbation itself."
  if threat.budget != "absolute":
    said = (
      f"Each chunk hears the perturbation in proportion to its own loudness; "
      f"perturbation.wav is perturbation.npy times {gain:.4g}, for a peak of {_PEAK}."
    )
  target = settings["target"]
  shown = {name: dicts(rows) for name, rows in tested.items()}
  made = report.table(shown, trained_on, target, said)
  grid.write_grids(folder, {"universal": made})
  report.draw(folder / "universal", trained.u, trained.history, SAMPLE_RATE_HZ, target)
  metrics = {
    "size": trained.size,
    "wav_gain": gain,
    "nan_steps": trained.nan_steps,
    "history": trained.history,
    "tested": {name: summary(rows, target) for name, rows in shown.items()},
    "versions": record.versions(),
  }
  workdir.write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
  print(tables.to_text(grid.to_table(made)))
  if trained.nan_steps:
    print(f"warning: {trained.nan_steps} minibatches gave a loss or gradient of NaN")


def summary(rows: Sequence[Mapping[str, Any]], target: str) -> dict[str, Any]:
  """The numbers of the table: intervals are value, low, high."""
  return {
    "clips": len(rows),
    "right": len(report.right(rows)),
    "fooled": report.rate(rows, "universal", target),
    "noise_fooled": report.rate(rows, "noise", target),
    "snr_db": report.mean_snr(rows),
  }


if __name__ == "__main__":
  cli.run(main)
