"""What an example costs as examples, lanes, devices and clips' lengths grow.

PGD of a few steps on noise, from a generator: nothing but the lanes is held. Memory is
the most that the process held at once while it stepped.
"""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from benches.timing import Measured, machine
from jaxadv import build, drive, engine, entries
from jaxadv.core import Example
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report.figures import COLOURS
from jaxadv.report.p1_draw import PAGE_INCHES
from jaxadv.report.tables import Table

_CLASSES = 10


class Point(NamedTuple):
  """What grows, how far, and what was measured there."""

  grows: str
  value: int
  examples: int
  ms_per_chunk_step: float
  useful: float
  peak_mib: float


def run(settings: Mapping[str, Any]) -> Measured:
  """One row for each point; the base has settings' lanes, one device, one chunk."""
  grown = settings["grows"]
  # before any device is used; other platforms have the devices that they have
  jax.config.update("jax_num_cpu_devices", max(grown["devices"]))
  base = {"examples": grown["examples"][-2], "lanes": grown["lanes"][-2]}
  base |= {"devices": 1, "chunks": 1}
  points = []
  for grows, values in grown.items():
    for value in values:
      at = base | {grows: value}
      if at["devices"] > jax.local_device_count():
        continue
      if grows != "examples":  # as much to compute at every point
        at["examples"] = base["examples"] // at["chunks"]
      points.append(point(grows, value, at, settings))
  rows = []
  for p in points:
    cells = (f"{p.ms_per_chunk_step:.2f}", f"{100 * p.useful:.1f}", f"{p.peak_mib:.0f}")
    rows.append((p.grows, str(p.value), str(p.examples), *cells))
  table = Table(
    f"PGD of {settings['steps']} steps on clips of noise",
    ("grows", "to", "examples", "ms per chunk-step", "useful %", "peak MiB"),
    rows,
    f"{machine()}; base: {base}; chunk-step: a step on 65,536 samples",
  )
  return Measured(table, lambda figure: draw(figure, points))


def point(grows: str, value: int, at: Mapping[str, int], settings) -> Point:
  devices = jax.local_devices()[: at["devices"]]
  model = build.classifier(settings["model"], _CLASSES)
  entry = {"method": "pgd", "norm": "linf", "radius": 40.0, "budget": "snr_db"}
  entry |= {"steps": settings["steps"], "goal": "strongest"}
  plan = entries.attack_plan("pgd", entry, target=False)
  queue = noise(at["examples"], at["chunks"] * CHUNK_SAMPLES, settings["seed"])
  first = next(noise(1, at["chunks"] * CHUNK_SAMPLES, settings["seed"]))
  key = jax.random.key(settings["seed"])
  placed: tuple[Any, jax.Array]
  placed = engine.replicate((plan.params(model.init(key, first.x)), key), devices)
  logits = lambda variables, x: model.apply(variables, x)  # noqa: E731
  compiled = engine.compile_lanes(
    drive.driver(plan.attack, plan.bind(logits, plan.stages[0]), plan.goal),
    *placed,
    first,
    lanes=min(at["lanes"], at["examples"]),
    chunk=engine.default_chunk(devices),
    devices=devices,
  )
  forget_peak()
  began, useful, computed = time.perf_counter(), 0, 0
  for look in engine.run(compiled, *placed, queue):
    useful += sum(outcome.steps for outcome in look.outcomes)
    computed += look.lane_steps
  seconds = time.perf_counter() - began
  each = 1e3 * seconds / (useful * at["chunks"])
  return Point(grows, value, at["examples"], each, useful / computed, peak_mib())


def noise(count: int, samples: int, seed: int) -> Iterator[Example]:
  rng = np.random.default_rng(seed)
  mask = np.ones(samples, np.float32)
  for n in range(count):
    x = 0.1 * rng.standard_normal(samples, np.float32)
    label = np.int32(n % _CLASSES)
    yield Example(np.int32(n), x.clip(-1, 1), mask, label, np.int32(-1))


def forget_peak() -> None:
  if os.access("/proc/self/clear_refs", os.W_OK):
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
  """Of this process's memory since `forget_peak`; nan where the system doesn't tell."""
  status = Path("/proc/self/status")
  if not status.exists():
    return float("nan")
  lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
  return int(lines["VmHWM"].split()[0]) / 1024


def draw(figure: Figure, points: list[Point]) -> None:
  """A panel for what grows: time of a chunk-step, and memory beside examples."""
  names = list(dict.fromkeys(p.grows for p in points))
  figure.set_size_inches(PAGE_INCHES, 2.1)
  for axes, grows in zip(
    figure.subplots(1, len(names), sharey=True), names, strict=True
  ):
    some = [p for p in points if p.grows == grows]
    axes.plot(
      [p.value for p in some],
      [p.ms_per_chunk_step for p in some],
      *("o-",),
      color=COLOURS[0],
      markersize=3.5,
      linewidth=1.2,
    )
    axes.set_xscale("log")
    values = [p.value for p in some]
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.minorticks_off()
    axes.set_xlabel(grows)
    axes.set_ylim(0, 1.05 * max(p.ms_per_chunk_step for p in points))
    axes.grid(linewidth=0.4, alpha=0.5)
  figure.supylabel("ms per chunk-step", fontsize=8)
