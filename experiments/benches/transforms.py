"""Clips per second and core of each transform, and how exactly it keeps time.

Seconds are those of the process's own threads (`time.process_time`), so that other work
on the machine counts little; a transform that uses several cores is charged for all.
What the device needs is beside them, by the clock: the clips per second that a victim
judges there, and those of a network as wide as P0's, of random weights.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from scipy import signal

from benches.timing import Measured, bars, machine
from jaxadv import build, data
from jaxadv.data.audio import CHUNK_SAMPLES
from jaxadv.judge import answers, judge
from jaxadv.report.tables import Table
from jaxadv.transforms import Transform
from jaxadv.transforms.transform import SAMPLE_RATE_HZ, rng_of
from jaxadv.victim import load_victim


def run(settings: Mapping[str, Any]) -> Measured:
  """One row per transform, and per network that judges."""
  dataset = build.dataset(settings["data"], settings["data"]["split"])
  some = list(dataset.clips)[: settings["clips"]]
  clips = [one.x[: one.samples] for one in data.load(some) if one.x is not None]
  sound_s = sum(map(len, clips)) / SAMPLE_RATE_HZ
  rows, rates = [], {}
  for transform in build.transforms(settings["transforms"]):
    seconds, delays = measure(transform, clips, settings["seed"])
    rates[transform.name] = len(clips) / seconds
    cells = (f"{rates[transform.name]:.0f}", f"{sound_s / seconds:.0f}")
    rows.append((transform.name, *cells, f"{np.median(delays):.0f}"))
  for name, logits, variables in judges(settings):
    seconds = judging_seconds(logits, variables, clips, settings["batch"])
    cells = (f"{len(clips) / seconds:.0f}", f"{sound_s / seconds:.0f}")
    rows.append((f"{name} judges", *cells, "-"))
  table = Table(
    f"{len(clips)} clips of {settings['data']['root']}, {sound_s:.0f} s of sound",
    ("Transform", "clips per second", "times real time", "delay, samples"),
    rows,
    "per core, in CPU seconds; delay: where the cross-correlation with the clip peaks, "
    f"median over clips; what judges: on the whole device, by the clock; {machine()}",
  )
  return Measured(table, bars(rates, "clips per second and core"))


def measure(
  transform: Transform, clips: list[np.ndarray], seed: int
) -> tuple[float, list[int]]:
  """(CPU seconds of all clips, delay of each in samples), after a warm-up of one."""
  transform(clips[0], rng_of(seed, 0, transform.name))
  seconds, delays = 0.0, []
  for at, x in enumerate(clips):
    began = time.process_time()
    y = transform(x, rng_of(seed, at, transform.name))
    seconds += time.process_time() - began
    likeness = signal.correlate(y, x, method="fft")
    delays.append(int(np.abs(likeness).argmax()) - (len(x) - 1))
  return seconds, delays


def judges(settings: Mapping[str, Any]) -> Iterator[tuple[str, Callable, Any]]:
  """(name, logits, variables) of the victim, and of the model at random weights."""
  victim = load_victim(settings["victim"])
  yield settings["victim"], victim.logits, victim.variables
  model = settings["model"]
  network = build.classifier(model, len(data.CLASSES))
  variables = jax.jit(network.init)(jax.random.key(0), np.zeros(CHUNK_SAMPLES))
  yield f"{model['network']} of width {model['width']:g}", network.apply, variables


def judging_seconds(
  logits_fn: Callable, variables: Any, clips: list[np.ndarray], batch: int
) -> float:
  """Seconds in which the device judges all clips, as in a run; median of three."""
  tagged = [(at, data.pad_to_chunks(x)) for at, x in enumerate(clips)]
  logits, samples = judge(logits_fn), batch * CHUNK_SAMPLES
  seconds = []
  for _ in range(4):  # the first compiles
    began = time.perf_counter()
    assert len(list(answers(logits, variables, tagged, samples))) == len(clips)
    seconds.append(time.perf_counter() - began)
  return float(np.median(seconds[1:]))
