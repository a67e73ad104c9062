"""One attack of one library on all clips: what it found, judged by us, and its cost."""
# pyright: reportMissingImports=false

import contextlib
import io
import logging
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from jaxadv import drive, engine, ensemble, entries, memory, problem
from jaxadv.core import Example, examples
from jaxadv.inference import inference
from jaxadv.victim import Victim
from peers.job import Job, Run
from peers.torch_victims import Images, to_images, to_waveforms

# a value of an image in [0.5, 1) is off by up to half a unit in its last place, and a
# sample by twice that; so are sums x + delta
ROUNDING = 2.0**-23
_SIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "l0": lambda d: np.count_nonzero(d, 1).astype(np.float64),
  "l1": lambda d: np.abs(d).sum(1),
  "l2": lambda d: np.sqrt((d**2).sum(1)),
  "linf": lambda d: np.abs(d).max(1),
}


class Clips(NamedTuple):
  """What is attacked, by everyone."""

  files: list[str]
  x: np.ndarray  # float32 [B, samples], all of one l2 norm, on the grid of 2**-22
  labels: np.ndarray  # [B], as the victim has them too
  targets: np.ndarray | None = None  # [B]; None: any other class will do


class Found(NamedTuple):
  """x: float32 [B, samples]. forward, backward: passes per example."""

  x: np.ndarray
  forward: float
  backward: float
  seconds: float


def by_ours(
  victim: Victim, plan: entries.AttackPlan, clips: Clips
) -> Callable[[int, int], Found]:
  """(seed, clips at once) -> what our attack finds in the engine, as a run has it.

  At once 0: all. Compiled once for each number of them; seconds without compilation.
  """
  devices = jax.local_devices()[:1]
  variables = engine.replicate(inference(victim, "default"), devices)
  targets = -1 if clips.targets is None else clips.targets
  batch = jax.tree.map(np.asarray, examples(clips.x, clips.labels, targets))
  by_id = {
    n: jax.tree.map(lambda leaf, n=n: leaf[n], batch) for n in range(len(batch.x))
  }
  made: dict[tuple[str, int], engine.Compiled] = {}

  def attack(seed: int, at_once: int = 0) -> Found:
    key, compiling = engine.replicate(jax.random.key(seed), devices), 0.0

    def run_stage(stage, ids):
      nonlocal compiling
      place = stage.name, at_once
      passes = stage.attack.forward_passes, stage.attack.backward_passes
      if place not in made:
        bound = problem.bind(victim.logits, plan.threat, stage.objective)
        made[place] = engine.compile_lanes(
          drive.driver(stage.attack, bound, plan.goal),
          variables,
          key,
          by_id[0],
          lanes=at_once or memory.lanes_for(len(by_id), *passes),
          chunk=engine.default_chunk(devices),
          devices=devices,
        )
        compiling += made[place].seconds
      for look in engine.run(made[place], variables, key, [by_id[n] for n in ids]):
        compiling += look.compiling
        yield look

    began, ended = time.perf_counter(), {}
    for _, found in ensemble.worst_case(plan.stages, run_stage, by_id):
      ended |= {one.outcome.id: one for one in found}
    each = [ended[n] for n in by_id]
    x = clips.x + np.stack([one.outcome.best.delta for one in each])
    seconds = time.perf_counter() - began - compiling
    forward = float(np.mean([one.cost.forward_passes for one in each]))
    backward = float(np.mean([one.cost.backward_passes for one in each]))
    return Found(x, forward, backward, seconds)

  return attack


def by_peer(
  run: Run, model: Images, clips: Clips, job: dict[str, Any]
) -> Callable[[int, int], Found]:
  """(seed, clips at once) -> what a peer's attack finds. At once 0: all."""
  side = int(np.sqrt(clips.x.shape[1]))
  shape = (1, side, side) if run.square else (1, 1, side * side)
  count = len(clips.x)
  targeted = clips.targets is not None
  wanted = clips.labels if clips.targets is None else clips.targets

  def attack(seed: int, at_once: int = 0) -> Found:
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
      seeded(seed)
    model.reset()
    logging.getLogger("art").setLevel(logging.ERROR)
    silence, found = io.StringIO(), []
    began = time.perf_counter()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
      for at in range(0, count, at_once or count):
        some = slice(at, at + (at_once or count))
        images = to_images(clips.x[some], shape)
        labels = torch.tensor(wanted[some], dtype=torch.int64)
        images = run.attack(Job(model, images, labels, targeted, **job))
        found.append(to_waveforms(images.detach().numpy()))
    x = np.concatenate(found).astype(np.float32)
    seconds = time.perf_counter() - began
    return Found(x, model.forwards / count, model.backwards / count, seconds)

  return attack


def judged(
  found: Found,
  clips: Clips,
  norm: str,
  radius: float,
  logits: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
  """The part of a row that we say of the array that came back.

  outside: clips that left box or ball by more than rounding. success: of all that is
  finite, in the ball or not.
  """
  finite = np.asarray(np.isfinite(found.x).all(1))
  x = np.where(finite[:, None], found.x, clips.x)
  delta = x.astype(np.float64) - clips.x
  sizes = _SIZES[norm](delta)
  slack = 0.0 if norm == "l0" else _SIZES[norm](ROUNDING * (delta != 0))
  outside = (sizes > radius * (1 + 1e-5) + slack) | (np.abs(x).max(1) > 1)
  success = fooled(logits(x).argmax(1), clips)
  return {
    "success": success.tolist(),
    "size": sizes.tolist(),
    "not_finite": int((~finite).sum()),
    "outside": int(outside.sum()),
    "largest": float(sizes.max()),
    "forward": found.forward,
    "backward": found.backward,
    "seconds": found.seconds,
  }


def fooled(said: np.ndarray, clips: Clips) -> np.ndarray:
  """Whether each class said is what the attack wanted. [B] -> bool [B]."""
  return said != clips.labels if clips.targets is None else said == clips.targets


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
  """TimeoutError after so long, raised in the main thread; 0: no limit."""

  def stop(signum, frame):
    raise TimeoutError(f"stopped after {seconds:.0f} s")

  before = signal.signal(signal.SIGALRM, stop)
  # again and again: a library may swallow it
  signal.setitimer(signal.ITIMER_REAL, seconds, 5.0 if seconds else 0.0)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def smallest_radius(plan: entries.AttackPlan, clips: Clips) -> float:
  """One radius for all clips: of waveforms, in the attack's norm; inf: no budget."""
  ones = np.ones_like(clips.x[0])

  def radius(x):
    return float(plan.threat.radius_of(Example(0, x, ones, 0, -1)))

  return min(map(radius, clips.x))
