"""Which clips a run attacks, and towards what."""

from pathlib import Path

import pytest

from jaxadv.data import Clip, Dataset
from jaxadv.errors import InputError
from jaxadv.jobs import choose_jobs


def dataset(labels: list[int]) -> Dataset:
  """Three classes; no recording is opened but for its header, and none is there."""
  clips = [
    Clip(n, f"{n}.wav", Path(f"nowhere/{n}.wav"), label, True)
    for n, label in enumerate(labels)
  ]
  return Dataset(("Cello", "Oboe", "Tuba"), tuple(clips))


def chosen(data: Dataset, classes: str, targets: str, clips_per_class: int = 0):
  """(row of the clip, target) of each job."""
  wanted = {"classes": classes, "clips_per_class": clips_per_class}
  (bucket,) = choose_jobs(data, {"data": wanted, "targets": targets})
  return [(job.clip.index, job.target) for job in bucket[1]]


def test_each_clip_goes_to_the_classes_it_is_not_of():
  jobs = chosen(dataset([0, 1, 2, 0]), "Cello,Tuba", "Cello,Tuba")
  assert jobs == [(0, 2), (2, 0), (3, 2)]
  assert chosen(dataset([0, 1, 0]), "", "", 1) == [(0, -1), (1, -1)]


def test_a_class_without_a_clip_is_refused_as_a_source_and_not_as_a_target():
  lacking = dataset([0, 1])
  with pytest.raises(InputError, match="'Tuba', of which the data has no clip"):
    chosen(lacking, "Cello,Tuba", "Cello,Tuba")
  assert chosen(lacking, "Cello", "Cello,Tuba") == [(0, 2)]
