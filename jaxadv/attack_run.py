"""One attack over every clip of a run: buckets, engine, recorder; resumable.

The numpy stage feeds the engine, the engine's outcomes go to the recorder. A row that
exists is never computed again.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxadv import (
  compile_cache,
  data,
  drive,
  engine,
  ensemble,
  entries,
  memory,
  workdir,
)
from jaxadv.core import Example
from jaxadv.inference import MATMUL
from jaxadv.jobs import feed, load_starts
from jaxadv.record import Finished, Job, Recorder
from jaxadv.victim import Victim

_FLUSH_S = 30.0  # a finished example waits at most about so long for its row


@dataclasses.dataclass
class Usage:
  """Where the time of one attack went, in this process."""

  rows: int = 0
  lanes: int = 0  # of a device, at the last bucket
  chunk: int = 0  # steps between looks of the host, at the last one
  useful: int = 0  # lane-steps that brought an example further
  lane_steps: int = 0
  stepping_s: float = 0.0
  compiling_s: float = 0.0
  from_cache: int = 0  # programs that were on disk, compiled by an earlier run
  waiting_s: float = 0.0  # for clips
  storing_s: float = 0.0  # WAVs, judgements, rows
  total_s: float = 0.0

  def add(self, look: engine.Look, rows: int) -> None:
    self.rows += rows
    self.useful += sum(outcome.steps for outcome in look.outcomes)
    self.lane_steps += look.lane_steps
    self.stepping_s += look.seconds
    self.waiting_s += look.waited
    self.compiling_s += look.compiling
    self.chunk = look.chunk


def run_attack(
  plan: entries.AttackPlan,
  victim: Victim,
  buckets: Sequence[tuple[int, Sequence[Job]]],
  settings: Mapping[str, Any],
  *,
  variables: Any,
  folder: Path,
  logits: Callable,
  common: Mapping[str, Any],
  done: Sequence[Mapping[str, Any]],
  clips: Sequence[data.Clip],
  share: tuple[int, int] = (0, 1),
) -> Usage:
  """Attacks every job that has no row in `done`, and appends its row.

  variables: what is attacked (`inference.inference`). logits: what judges
  (`judge.judge`), with the victim's own. common: what the rows share. clips: of the
  whole data set, for attacks that begin at a clip of the wanted class. share: (index,
  count) of the processes of a run: each takes every count-th clip.

  Where the devices' memory is full, the clips left go on with half the lanes.
  """
  devices, usage = jax.local_devices(), Usage()
  began, cached = time.perf_counter(), compile_cache.hits()
  key = jax.random.key(settings["seed"])
  placed = engine.replicate((plan.params(variables), key), devices)
  finished = {row["id"] for row in done}
  starts = None
  if any(stage.attack.needs_start for stage in plan.stages):
    starts = load_starts(clips, victim.classes, buckets, settings)
  process = share[0]
  buckets = [(chunks, _share(jobs, *share)) for chunks, jobs in buckets]
  total = sum(len(jobs) for _, jobs in buckets)
  own = {job.id for _, jobs in buckets for job in jobs}
  done = [row for row in done if row["id"] in own]
  bound = None  # on a program's chunks at once, once memory was full
  with Progress(common["attack"], total, done) as progress:
    for chunks, jobs in buckets:
      while left := [job for job in jobs if job.id not in finished]:
        # of all jobs, not of those left: a resumed run compiles the same program
        lanes = choose_lanes(chunks, len(jobs), settings)
        at_most = None if bound is None else max(1, bound // chunks)
        recorder = Recorder(folder, victim, plan, logits, common, lanes[0], process)
        try:
          for rows in attack_bucket(
            plan, placed, left, settings, recorder, usage, lanes, starts, at_most
          ):
            finished |= {row["id"] for row in rows}
            progress.update(rows)
          break
        except jax.errors.JaxRuntimeError as error:
          if not memory.is_full(error) or usage.lanes <= 1:
            raise
          bound = usage.lanes // 2 * chunks
          tqdm.write(f"memory is full with {usage.lanes} lanes: going on with half")
        finally:
          # a program is hundreds of memory maps on a CPU, of which Linux has 65,530 for
          # a process; jax would keep the programs of all buckets, attacks and victims
          jax.clear_caches()
  usage.from_cache = compile_cache.hits() - cached
  usage.total_s = time.perf_counter() - began
  return usage


def choose_lanes(
  chunks: int, jobs: int, settings: Mapping[str, Any]
) -> tuple[int, int]:
  """(lanes to compile first, the most that are of use), of each device.

  runtime.lane_chunks is the chunks at once; 0: what suits the device.
  """
  devices = jax.local_devices()
  each = -(-jobs // len(devices))
  if asked := settings["runtime"]["lane_chunks"]:
    most = max(1, asked // chunks)
  else:
    most = memory.most_lanes(devices[0].platform, chunks)
  most = min(most, each)
  return (most if asked else min(most, max(1, memory.FIRST_CHUNKS // chunks))), most


def _share(jobs: Sequence[Job], process: int, count: int) -> list[Job]:
  """Every count-th clip's jobs: no two processes write the files of one clip."""
  clips = list(dict.fromkeys(job.clip.index for job in jobs))[process::count]
  own = set(clips)
  return [job for job in jobs if job.clip.index in own]


def attack_bucket(
  plan: entries.AttackPlan,
  placed: tuple[Any, jax.Array],
  jobs: Sequence[Job],
  settings: Mapping[str, Any],
  recorder: Recorder,
  usage: Usage,
  lanes: tuple[int, int],
  starts: Mapping[int, np.ndarray] | None = None,
  at_most: int | None = None,
) -> Iterator[list[dict[str, Any]]]:
  """Attacks jobs of one length; yields rows as they are stored.

  placed: `plan.params` and key, on all devices. lanes: of `choose_lanes`, for an attack
  of one pass a step; at_most: lanes of any program, once memory was full. Nothing is
  compiled where no clip can be used.
  """
  skipped = workdir.read_skipped(recorder.folder, recorder.process)
  held: dict[int, tuple[Job, Example, int]] = {}
  for job in jobs:
    skipped.pop(recorder.place(job), None)
  by_id, devices = {job.id: job for job in jobs}, jax.local_devices()
  logits_fn = recorder.victim.logits

  def run_stage(stage, ids):
    # what survived a stage is read again: examples are not kept in memory
    examples = feed([by_id[n] for n in ids], settings, held, skipped, starts=starts)
    first = next(examples, None)
    if first is None:
      return
    passes = stage.attack.forward_passes, stage.attack.backward_passes
    suiting = (memory.lanes_for(n, *passes) for n in lanes)
    at_first, most = (min(n, at_most or n) for n in suiting)
    usage.lanes = at_first
    compiled = engine.compile_lanes(
      drive.driver(stage.attack, plan.bind(logits_fn, stage), plan.goal),
      *placed,
      first,
      precision=MATMUL[settings["precision"]],
      lanes=at_first,
      chunk=settings["runtime"]["chunk"] or engine.default_chunk(devices),
      devices=devices,
    )
    if not settings["runtime"]["lane_chunks"]:
      compiled = engine.fit(compiled, most)
    usage.lanes = compiled.shape[1]
    usage.compiling_s += compiled.seconds
    yield from engine.run(compiled, *placed, itertools.chain([first], examples))

  looks = ensemble.worst_case(plan.stages, run_stage, by_id)
  yield from record(looks, recorder, held, usage)
  skipped |= recorder.skipped
  workdir.write_skipped(recorder.folder, skipped, recorder.process)


def record(
  looks: Iterator[tuple[engine.Look, list[ensemble.Found]]],
  recorder: Recorder,
  held: dict[int, tuple[Job, Example, int]],
  usage: Usage,
) -> Iterator[list[dict[str, Any]]]:
  """Stores outcomes in batches as they come; yields the rows of each batch."""
  pending: list[Finished] = []
  batch = recorder.batch
  since = time.monotonic()

  def store():
    nonlocal since
    began = time.perf_counter()
    some = pending[:batch]
    del pending[:batch]  # first: an interrupt while storing must not store them twice
    rows = recorder.store(some)
    usage.storing_s += time.perf_counter() - began
    since = time.monotonic()
    return rows

  try:
    for look, found in looks:
      usage.add(look, len(found))
      ended = {outcome.id: held.pop(outcome.id) for outcome in look.outcomes}
      pending += [Finished(*ended[one.outcome.id], one) for one in found]
      while len(pending) >= batch:
        yield store()
      if time.monotonic() - since > _FLUSH_S:
        yield store()
  except KeyboardInterrupt:
    while pending:
      store()
    raise
  while pending:
    yield store()


class Progress:
  """A bar with rate and ETA, success and median SNR so far (clips once right only)."""

  def __init__(self, name: str, total: int, done: Sequence[Mapping[str, Any]]):
    self._bar = tqdm(total=total, initial=len(done), desc=name, unit="clip")
    self._right = [row for row in done if row["clean_correct"]]

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._bar.close()

  def update(self, rows: Sequence[Mapping[str, Any]]) -> None:
    self._right += [row for row in rows if row["clean_correct"]]
    won = [row["snr_db"] for row in self._right if row["success"]]
    if won:
      success = f"{100 * len(won) / len(self._right):.1f}%"
      self._bar.set_postfix(success=success, snr=f"{np.median(won):.1f}dB")
    self._bar.update(len(rows))
