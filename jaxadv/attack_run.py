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

from jaxadv import build, data, drive, engine, ensemble, workdir
from jaxadv.core import Example
from jaxadv.jobs import feed, load_starts
from jaxadv.record import Finished, Job, Recorder
from jaxadv.victim import Victim

_FLUSH_S = 30.0  # a finished example waits at most about so long for its row


@dataclasses.dataclass
class Usage:
  """Where the time of one attack went, in this session."""

  rows: int = 0
  useful: int = 0  # lane-steps that brought an example further
  lane_steps: int = 0
  stepping_s: float = 0.0
  compiling_s: float = 0.0
  waiting_s: float = 0.0  # for clips
  judging_s: float = 0.0

  def add(self, look: engine.Look, rows: int) -> None:
    self.rows += rows
    self.useful += sum(outcome.steps for outcome in look.outcomes)
    self.lane_steps += look.lane_steps
    self.stepping_s += look.seconds
    self.waiting_s += look.waited
    self.compiling_s += look.compiling


def run_attack(
  plan: build.AttackPlan,
  victim: Victim,
  buckets: Sequence[tuple[int, Sequence[Job]]],
  settings: Mapping[str, Any],
  *,
  folder: Path,
  logits: Callable,
  common: Mapping[str, Any],
  done: Sequence[Mapping[str, Any]],
  clips: Sequence[data.Clip],
  share: tuple[int, int] = (0, 1),
) -> Usage:
  """Attacks every job that has no row in `done`, and appends its row.

  logits: what judges (`judge.judge`). common: what the rows share. clips: of the whole
  data set, for attacks that begin at a clip of the wanted class. share: (index, count)
  of the processes of a run: each takes every count-th clip.
  """
  devices, usage = jax.local_devices(), Usage()
  key = jax.random.key(settings["seed"])
  placed = engine.replicate((victim.variables, key), devices)
  finished = {row["id"] for row in done}
  starts = None
  if any(stage.attack.needs_start for stage in plan.stages):
    starts = load_starts(clips, victim.classes, buckets, settings)
  process = share[0]
  buckets = [(chunks, _share(jobs, *share)) for chunks, jobs in buckets]
  total = sum(len(jobs) for _, jobs in buckets)
  own = {job.id for _, jobs in buckets for job in jobs}
  done = [row for row in done if row["id"] in own]
  with Progress(common["attack"], total, done) as progress:
    for chunks, jobs in buckets:
      if not jobs:
        continue
      # of all jobs, not of those left: a resumed run compiles the same program
      lanes = max(1, settings["runtime"]["lane_chunks"] // chunks)
      lanes = min(lanes, -(-len(jobs) // len(devices)))
      recorder = Recorder(folder, victim, plan, logits, common, lanes, process)
      left = [job for job in jobs if job.id not in finished]
      for rows in attack_bucket(plan, placed, left, settings, recorder, usage, starts):
        progress.update(rows)
  return usage


def _share(jobs: Sequence[Job], process: int, count: int) -> list[Job]:
  """Every count-th clip's jobs: no two processes write the files of one clip."""
  clips = list(dict.fromkeys(job.clip.index for job in jobs))[process::count]
  own = set(clips)
  return [job for job in jobs if job.clip.index in own]


def attack_bucket(
  plan: build.AttackPlan,
  placed: tuple[Any, jax.Array],
  jobs: Sequence[Job],
  settings: Mapping[str, Any],
  recorder: Recorder,
  usage: Usage,
  starts: Mapping[int, np.ndarray] | None = None,
) -> Iterator[list[dict[str, Any]]]:
  """Attacks jobs of one length; yields rows as they are stored. placed: variables and
  key, on all devices. Nothing is compiled where no clip can be used."""
  skipped = workdir.read_skipped(recorder.folder, recorder.process)
  held: dict[int, tuple[Job, Example, int]] = {}
  by_id, devices = {job.id: job for job in jobs}, jax.local_devices()
  logits_fn = recorder.victim.logits

  def run_stage(stage, ids):
    # what survived a stage is read again: examples are not kept in memory
    examples = feed([by_id[n] for n in ids], settings, held, skipped, starts=starts)
    first = next(examples, None)
    if first is None:
      return
    compiled = engine.compile_lanes(
      drive.driver(stage.attack, plan.bind(logits_fn, stage), plan.goal),
      *placed,
      first,
      precision=settings["precision"],
      lanes=max(1, recorder.batch // stage.attack.forward_passes),
      chunk=settings["runtime"]["chunk"] or engine.default_chunk(devices),
      devices=devices,
    )
    usage.compiling_s += compiled.seconds
    yield from engine.run(compiled, *placed, itertools.chain([first], examples))

  looks = ensemble.worst_case(plan.stages, run_stage, by_id)
  yield from record(looks, recorder, held, usage)
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
    usage.judging_s += time.perf_counter() - began
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
