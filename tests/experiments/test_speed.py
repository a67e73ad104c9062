"""The race against other libraries: who runs how often, and what is said of each."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

from benches import speed
from peers import compare, measure

SETTINGS = {"seed": 0, "repeats": 3, "batches": (1, 2), "runtime": {"limit_s": 5}}
CLIPS = measure.Clips(["a", "b"], np.zeros((2, 8), np.float32), np.array([0, 0]))


def label(images):
  """Class 1 where the first sample has moved."""
  torch = pytest.importorskip("torch")
  moved = (images.flatten(1)[:, 0] > 0.6).float()
  return torch.stack([0.5 - moved, moved - 0.5], 1)


SUBJECT = compare.Subject(
  SimpleNamespace(classes=("a", "b")),  # pyright: ignore[reportArgumentType]
  CLIPS,
  label,  # pyright: ignore[reportArgumentType]
  lambda x: np.stack([0.5 - (x[:, 0] > 0.2), (x[:, 0] > 0.2) - 0.5], 1),
)


class Library:
  """An attack that says how long it took: with one clip at once, and with two."""

  def __init__(self, alone, together, error=""):
    self.seconds, self.error, self.runs = {1: alone, 2: together}, error, []

  def __call__(self, seed, at_once):
    self.runs.append(at_once)
    if self.error:
      raise ValueError(self.error)
    x = CLIPS.x.copy()
    x[0, 0] = 0.5
    return measure.Found(x, 1, 1, self.seconds[at_once])


def test_each_runs_at_the_batch_that_suits_it():
  side = speed.choose("peer", "v", Library(20.0, 10.0), SUBJECT, SETTINGS)
  assert side.at_once == 2 and side.found is not None
  side = speed.choose("peer", "v", Library(10.0, 20.0), SUBJECT, SETTINGS)
  assert side.at_once == 1
  # and the check of what came back is part of its time
  assert side.seconds > 10.0


def test_ours_is_compiled_before_it_is_timed():
  ours = Library(0.0, 0.0)
  speed.choose(compare.OURS, "v", ours, SUBJECT, SETTINGS)
  assert ours.runs == [1, 1, 2, 2]


def test_the_slow_run_once_and_the_others_in_turn():
  fast, slow = Library(10.0, 10.0), Library(90.0, 90.0)
  sides = [
    speed.choose(name, "v", library, SUBJECT, SETTINGS)
    for name, library in (("fast", fast), ("slow", slow))
  ]
  ended = {side.library: (found, s) for side, found, s in speed.in_turn(sides, 3)}
  assert len(fast.runs) == 2 + 3 and len(slow.runs) == 2
  assert ended["slow"][1] > 3 * ended["fast"][1] > 0


def test_a_library_that_fails_is_a_line_with_its_reason(monkeypatch):
  sides = [
    ("good", "v", "p", Library(0.0, 0.0)),
    ("bad", "v", "p", Library(0.0, 0.0, "no such thing")),
  ]
  monkeypatch.setattr(compare, "sides", lambda *asked: sides)
  entry = {"method": "fgsm", "norm": "linf", "radius": 1.0}
  lines = list(speed.race("fgsm", entry, SUBJECT, {"x": SimpleNamespace()}, SETTINGS))
  (_, good, _), (_, bad, ratio) = lines
  assert good[4] == "50.0" and good[3] == speed.MISSING  # there is none of ours
  assert bad[-1] == "ValueError: no such thing" and ratio == 0.0
