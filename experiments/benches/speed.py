"""Seconds of whole attacks against other libraries, each at its own best batch size.

The same clips, victim, budget and steps, from clips in memory to adversarial clips and
success flags, interleaved in one process; ours in the engine, as a run has it.
"""
# pyright: reportMissingImports=false

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benches.timing import Measured, bars, machine
from jaxadv.report.tables import MISSING, Table
from jaxadv.victim import load_victim
from peers import compare, measure, tables
from peers.torch_victims import to_images

_FAR = 3.0  # times the fastest: what takes longer runs once


class Side(NamedTuple):
  """One library's attack, at the batch size that suits it."""

  library: str
  variant: str
  run: Callable[[], tuple[measure.Found, float]]  # what was found, and its seconds
  at_once: int = 0
  seconds: float = float("inf")  # of the run that chose the batch size
  found: measure.Found | None = None  # there; None: it did not run
  error: str = ""


def run(settings: Mapping[str, Any]) -> Measured:
  """One row per attack and library."""
  torch.set_num_threads(settings["runtime"]["threads"])
  modules = compare.libraries(settings["runtime"]["libraries"])
  subject, said = compare.prepare(load_victim(settings["victim"]), settings)
  print(said, flush=True)
  rows, ratios = [], {}
  for name, entry in settings["compared"].items():
    for side, cells, ratio in race(name, entry, subject, modules, settings):
      rows.append((name, side.library, side.variant, *cells))
      print(*rows[-1], flush=True)
      if ratio:
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
    f"compilation, median of {settings['repeats']} runs in turn (one where it takes "
    f"{_FAR:g} times the fastest's), at the fastest of "
    f"{', '.join(map(str, settings['batches']))} clips at once. Success and distance: "
    f"judged by us. {said}. {machine()}; torch {torch.__version__}",
  )
  return Measured(table, bars(ratios, "seconds, times ours", goal=1.0))


def race(name, entry, subject, modules, settings):
  """(side, the rest of its line, its seconds over ours or 0) of all that have it."""
  asked = compare.ask(name, entry, subject)
  subject, norm, radius = asked.subject, asked.ours["norm"], asked.radius
  sides = [
    choose(library, variant, attack, subject, settings)
    for library, variant, _, attack in compare.sides(asked, modules)
  ]
  base = 0.0
  for side, found, seconds in in_turn(sides, settings["repeats"]):
    if found is None:
      yield side, (*[MISSING] * 7, side.error), 0.0
      continue
    base = seconds if side.library == compare.OURS else base  # ours is the first
    row = measure.judged(found, subject.clips, norm, radius, subject.logits)
    ratio = seconds / base if base else 0.0
    yield side, cells(side, row, seconds, ratio), ratio


def choose(library, variant, attack, subject, settings) -> Side:
  """The side at the batch size at which one run, after a warm-up, was fastest."""

  def timed(at_once):
    found = attack(settings["seed"], at_once)
    began = time.perf_counter()
    if library != compare.OURS:  # ours says so itself
      flags(subject, found.x, at_once)
    return found, found.seconds + time.perf_counter() - began

  best = Side(library, variant, lambda: timed(0), error="no batch size is so small")
  for at_once in settings["batches"]:
    if at_once > len(subject.clips.files):
      continue
    try:
      with measure.limited(settings["runtime"]["limit_s"]):
        if library == compare.OURS:
          timed(at_once)  # compiles what may be needed
        found, seconds = timed(at_once)
    except Exception as error:  # whatever a library raises is its result
      if best.found is None:
        reason = " ".join(str(error).split())[:160]
        best = best._replace(error=f"{type(error).__name__}: {reason}")
      continue
    if seconds < best.seconds:
      again = functools.partial(timed, at_once)
      best = Side(library, variant, again, at_once, seconds, found)
  return best


def flags(subject: compare.Subject, x: np.ndarray, at_once: int) -> np.ndarray:
  """Whether each clip fools the victim in torch. [B, samples] -> bool [B]."""
  said = []
  with torch.inference_mode():
    for at in range(0, len(x), at_once):
      images = to_images(x[at : at + at_once], (1, 1, x.shape[1]))
      said.append(subject.model(images).argmax(1).numpy())
  return measure.fooled(np.concatenate(said), subject.clips)


def in_turn(sides: Sequence[Side], repeats: int):
  """(side, what its last run found or None, the median of its seconds)."""
  fastest = min((side.seconds for side in sides), default=0.0)
  runs: list[list[tuple[measure.Found, float]]] = [[] for _ in sides]
  for _ in range(repeats):
    for side, so_far in zip(sides, runs, strict=True):
      if side.found is not None and side.seconds <= _FAR * fastest:
        so_far.append(side.run())
  for side, each in zip(sides, runs, strict=True):
    if each:
      yield side, each[-1][0], float(np.median([seconds for _, seconds in each]))
    else:
      yield side, side.found, side.seconds


def cells(side: Side, row, seconds: float, ratio: float) -> tuple[str, ...]:
  """The rest of a line of the table."""
  found = tables.numbers(row)
  return (
    str(side.at_once),
    f"{seconds:.2f}",
    f"{1e3 * seconds / len(row['success']):.0f}",
    f"{ratio:.2f}" if ratio else MISSING,
    f"{100 * found['success']:.1f}",
    f"{found['median']:.4g}" if np.isfinite(found["median"]) else MISSING,
    f"{row['backward']:.0f}",
    f"{row['outside']} outside the ball" if row["outside"] else "",
  )
