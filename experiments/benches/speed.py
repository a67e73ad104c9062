"""Seconds of whole attacks against other libraries, each at its own best batch size.

The same clips, victim, budget and steps, from clips in memory to adversarial clips and
success flags, interleaved in one process; ours in the engine, as a run has it.
"""
# pyright: reportMissingImports=false

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benches.timing import Measured, bars, machine
from jaxadv import build
from jaxadv.report.tables import MISSING, Table
from jaxadv.victim import load_victim
from peers import compare, measure, tables
from peers.torch_victims import to_images


class Side(NamedTuple):
  """One library's attack, at the batch size that suits it."""

  library: str
  variant: str
  at_once: int
  run: Callable[[], tuple[measure.Found, float]]  # what was found, and its seconds
  error: str = ""


def run(settings: Mapping[str, Any]) -> Measured:
  """One row per attack and library."""
  torch.set_num_threads(settings["runtime"]["threads"])
  modules = compare.libraries(settings["runtime"]["libraries"])
  subject, said = compare.prepare(load_victim(settings["victim"]), settings)
  print(said, flush=True)
  rows, ratios = [], {}
  for name, entry in settings["attacks"].items():
    ours = {key: value for key, value in entry.items() if key != "peers"}
    plan = build.attack_plan(name, ours, target=False)
    radius = measure.smallest_radius(plan, subject.clips)
    asked = plan, ours, entry.get("peers", {}), radius, subject, modules
    chosen = [
      choose(library, variant, attack, subject, settings)
      for library, variant, _, attack in compare.sides(*asked)
    ]
    judged = {
      side: measure.judged(found, subject.clips, ours["norm"], radius, subject.logits)
      | {"seconds": seconds}
      for side, found, seconds in in_turn(chosen, settings["repeats"])
    }
    base = next((j for s, j in judged.items() if s.library == compare.OURS), None)
    for side in chosen:
      rows.append((name, *cells(side, judged.get(side), base)))
      print(" ".join(rows[-1]), flush=True)
      if side in judged and base:
        ratio = judged[side]["seconds"] / base["seconds"]
        ratios[f"{name}, {side.library} {side.variant}"] = ratio
  table = Table(
    f"{len(subject.clips.files)} clips of {subject.clips.x.shape[1]} samples, "
    "end to end",
    (
      *("Attack", "library", "its name", "at once", "seconds", "ms per clip"),
      *("times ours", "success %", "median distance", "gradients", "note"),
    ),
    rows,
    "Seconds: all clips, from memory to adversarial clips and success flags, without "
    f"compilation, median of {settings['repeats']} runs in turn, at the fastest of "
    f"{', '.join(map(str, settings['batches']))} clips at once. Success and distance: "
    f"judged by us. {said}. {machine()}; torch {torch.__version__}",
  )
  return Measured(table, bars(ratios, "seconds, times ours", goal=1.0))


def choose(library, variant, attack, subject, settings) -> Side:
  """The side at the batch size at which one run, after a warm-up, was fastest."""

  def timed(at_once):
    found = attack(settings["seed"], at_once)
    began = time.perf_counter()
    if library != compare.OURS:  # ours says so itself
      flags(subject, found.x, at_once)
    return found, found.seconds + time.perf_counter() - began

  best = Side(library, variant, 0, lambda: timed(0), "no batch size ran")
  fastest = float("inf")
  for at_once in settings["batches"]:
    if at_once > len(subject.clips.files):
      continue
    try:
      with measure.limited(settings["runtime"]["limit_s"]):
        # compiled by the first
        runs = [timed(at_once) for _ in range(2 if library == compare.OURS else 1)]
    except Exception as error:  # whatever a library raises is its result
      if fastest == float("inf"):
        reason = " ".join(str(error).split())[:160]
        best = best._replace(error=f"{type(error).__name__}: {reason}")
      continue
    if runs[-1][1] < fastest:
      fastest = runs[-1][1]
      best = Side(library, variant, at_once, lambda at_once=at_once: timed(at_once))
  return best


def flags(subject: compare.Subject, x: np.ndarray, at_once: int) -> np.ndarray:
  """Whether each clip fools the victim in torch. [B, samples] -> bool [B]."""
  said = []
  with torch.inference_mode():
    for at in range(0, len(x), at_once):
      images = to_images(x[at : at + at_once], (1, 1, x.shape[1]))
      said.append(subject.model(images).argmax(1).numpy())
  return np.concatenate(said) != subject.clips.labels


def in_turn(sides: Sequence[Side], repeats: int):
  """(side, what its last run found, median seconds), of those that run."""
  sound = [side for side in sides if not side.error]
  runs = [[side.run() for side in sound] for _ in range(repeats)]
  for n, side in enumerate(sound):
    yield side, runs[-1][n][0], float(np.median([one[n][1] for one in runs]))


def cells(side: Side, row, base) -> tuple[str, ...]:
  """A line of the table, without the attack's name."""
  if row is None:
    return (side.library, side.variant, *[MISSING] * 7, side.error)
  found = tables.numbers(row)
  return (
    side.library,
    side.variant,
    str(side.at_once),
    f"{row['seconds']:.2f}",
    f"{1e3 * row['seconds'] / len(row['success']):.0f}",
    f"{row['seconds'] / base['seconds']:.2f}" if base else MISSING,
    f"{100 * found['success']:.1f}",
    f"{found['median']:.4g}" if np.isfinite(found["median"]) else MISSING,
    f"{row['backward']:.0f}",
    f"{row['outside']} outside the ball" if row["outside"] else "",
  )
