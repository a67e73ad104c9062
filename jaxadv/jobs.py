"""Which clips a run attacks, and the examples that the numpy stage makes of them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxadv import data
from jaxadv.core import Example
from jaxadv.errors import InputError
from jaxadv.record import Job


def choose_jobs(
  dataset: data.Dataset, settings: Mapping[str, Any]
) -> list[tuple[int, list[Job]]]:
  """(chunks, jobs) for each bucket: which clips, and towards which targets.

  data.classes "" takes all; data.clips_per_class 0 takes all, else the first of each.
  targets: "" untargeted, "all", or names; a clip's own label is never its target. A
  job's id depends on the clip's row in the CSV and on the target alone.
  """
  names = dataset.classes
  wanted = _class_indices(settings["data"]["classes"] or "all", names, "data.classes")
  limit = settings["data"]["clips_per_class"]
  seen = dict.fromkeys(range(len(names)), 0)
  clips = []
  for clip in dataset.clips:
    seen[clip.label] += 1
    if clip.label in wanted and (not limit or seen[clip.label] <= limit):
      clips.append(clip)
  missing = [names[at] for at in wanted if not seen[at]]
  if settings["data"]["classes"] and missing:
    raise InputError(f"data.classes has {missing[0]!r}, of which the data has no clip")
  targets = [-1]
  if settings["targets"]:
    targets = _class_indices(settings["targets"], names, "targets")

  def jobs(clip):
    base = clip.index * (len(names) + 1) + 1
    return [Job(base + t, clip, t) for t in targets if t != clip.label]

  buckets = data.by_bucket(clips)
  chosen = [
    (chunks, [j for clip in some for j in jobs(clip)]) for chunks, some in buckets
  ]
  if clips and not any(some for _, some in chosen):
    raise InputError(
      f"targets is {settings['targets']!r}, and every clip is of that class already: "
      "give another target, or more of data.classes"
    )
  return chosen


def jobs_digest(buckets: Sequence[tuple[int, Sequence[Job]]]) -> str:
  """12 hex digits of which ids stand for which files."""
  listed = [(job.id, job.clip.file) for _, jobs in buckets for job in jobs]
  return hashlib.sha256(repr(sorted(listed)).encode()).hexdigest()[:12]


def _class_indices(listed: str, names: Sequence[str], key: str) -> list[int]:
  if listed == "all":
    return list(range(len(names)))
  for name in listed.split(","):
    if name not in names:
      raise InputError(
        f"{key} has {name!r}, which the victim does not know: its classes are "
        f"{', '.join(names)}"
      )
  return [names.index(name) for name in dict.fromkeys(listed.split(","))]


def feed(
  jobs: Sequence[Job],
  settings: Mapping[str, Any],
  held: dict[int, tuple[Job, Example, int]],
  skipped: dict[str, str],
  say: Callable[[str], object] = tqdm.write,
  starts: Mapping[int, np.ndarray] | None = None,
) -> Iterator[Example]:
  """Examples of the jobs in order; what the recorder will need of each is in `held`.

  starts: a clip of each class, that of the target (untargeted: of the next class) goes
  along, repeated to the length of x.
  """
  by_file: dict[str, list[Job]] = {}
  for job in jobs:
    by_file.setdefault(job.clip.file, []).append(job)
  loaded = data.load(
    [some[0].clip for some in by_file.values()],
    band_limit_hz=settings["data"]["band_limit_hz"],
    threads=settings["runtime"]["threads"],
    processes=settings["runtime"]["processes"],
  )
  for clip, x, samples in data.usable(loaded, skipped, say):
    mask = (np.arange(len(x)) < samples).astype(np.float32)
    for job in by_file[clip.file]:
      ends = np.int32(clip.label), np.int32(job.target)
      example = Example(np.int32(job.id), x, mask, *ends)
      if starts is not None:
        example = example._replace(
          start=np.resize(starts[_wanted(job, starts)], len(x))
        )
      held[job.id] = job, example, samples
      yield held[job.id][1]


def load_starts(
  clips: Sequence[data.Clip],
  classes: Sequence[str],
  buckets: Sequence[tuple[int, Sequence[Job]]],
  settings: Mapping[str, Any],
) -> dict[int, np.ndarray]:
  """The first usable clip of each class, without its padding: label -> [samples].

  InputError where a job's target has none.
  """
  by_class: dict[int, list[data.Clip]] = {}
  for clip in clips:
    by_class.setdefault(clip.label, []).append(clip)
  tried = [clip for some in by_class.values() for clip in some[:3]]
  loaded = data.load(tried, band_limit_hz=settings["data"]["band_limit_hz"])
  starts: dict[int, np.ndarray] = {}
  for clip, x, samples in data.usable(loaded, {}, lambda said: None):
    starts.setdefault(clip.label, x[:samples])
  for _, jobs in buckets:
    for job in jobs:
      if _wanted(job, starts) in starts:
        continue
      if job.target < 0:
        raise InputError(
          "an untargeted attack that begins at a clip of another class needs two "
          f"classes with clips that can be used, and the data has {len(starts)}: add "
          "one to data.classes, or leave the attack out with --config.runtime.only"
        )
      raise InputError(
        f"the attack begins at a clip of {classes[job.target]!r}, of which the data "
        "has none that can be used: take it off the targets"
      )
  return starts


def _wanted(job: Job, starts: Mapping[int, np.ndarray]) -> int:
  """The class that an attack begins at: the target, or the label's next neighbour."""
  if job.target >= 0:
    return job.target
  others = sorted(set(starts) - {job.clip.label})
  after = [label for label in others if label > job.clip.label]
  return (after or others or [-1])[0]
