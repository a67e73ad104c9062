"""experiments/train.py and evaluate.py as processes: killed, started again, judged."""

import csv

import jax
import numpy as np
import pytest
import tiny

from jaxadv.victim import load_victim


def history(folder):
  with (folder / "history.csv").open(newline="") as file:
    return [tuple(map(float, row.values())) for row in csv.DictReader(file)]


def test_killed_after_a_checkpoint_it_ends_with_the_same_victim(
  dataset, victim, tmp_path
):
  folder = tmp_path / "broken"
  command = tiny.train(dataset, folder)
  assert tiny.kill_once(command, (folder / "epochs" / "1").exists)
  assert not (folder / "victim.json").exists()
  assert "goes on after epoch" in tiny.succeed(command).out
  assert [row[0] for row in history(folder)] == [1, 2, 3, 4]
  np.testing.assert_allclose(history(folder), history(victim), rtol=1e-5)
  broken, unbroken = load_victim(str(folder)), load_victim(str(victim))
  assert broken.classes == unbroken.classes == tiny.CLASSES
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    broken.variables,
    unbroken.variables,
  )


def test_training_changed_the_variables(victim):
  trained = load_victim(str(victim))
  mean = float(trained.variables["scaler"]["mean"])
  assert -100 < mean < -10  # dB below the maximum
  for leaf in jax.tree.leaves(trained.variables["batch_stats"]):
    assert np.isfinite(leaf).all() and not np.isin(leaf, [0, 1]).all()
  losses = [loss for _, loss, _ in history(victim)]
  assert losses[-1] < losses[0]


def test_a_trained_victim_is_left_alone(dataset, victim, capsys):
  before = (victim / "victim.json").stat().st_mtime_ns
  ended = tiny.call(tiny.train(dataset, victim), capsys)
  assert ended.code == 0 and "trained already" in ended.out
  assert (victim / "victim.json").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def evaluated(dataset, victim, tmp_path_factory):
  folder = tmp_path_factory.mktemp("evaluated") / "run"
  return folder, tiny.succeed(tiny.evaluate(dataset, victim, folder))


def cells(out: str, first: str) -> list[str]:
  """The printed row that starts with this word."""
  (line,) = [line for line in out.splitlines() if line.split()[:1] == [first]]
  return line.split()


def test_evaluate_prints_what_the_victim_says(dataset, evaluated, says):
  counts = np.zeros((3, 3), int)
  for at, label in enumerate(tiny.CLASSES):
    for n in range(2):
      path = dataset / "FSDKaggle2018.audio_test" / f"{label}{n}.wav"
      counts[at, says(path).argmax()] += 1
  _, ended = evaluated
  shown = [cells(ended.out, label)[1:] for label in tiny.CLASSES]
  numbers = [[int(n.replace(".", "0")) for n in row[:3]] for row in shown]
  np.testing.assert_array_equal(numbers, counts)
  assert [float(row[3]) for row in shown] == [counts[n, n] / 2 for n in range(3)]
  right = int(counts.trace())
  assert cells(ended.out, "tiny")[1:4] == ["6", str(right), f"{right / 6:.3f}"]
  assert cells(ended.out, "tiny")[4:] == ["0.333", "0"]
  # what its training is for: one clip right more than by chance could be chance
  assert right >= 4


def test_evaluate_keeps_what_it_printed(evaluated):
  folder, ended = evaluated
  kept = (folder / "evaluation.md").read_text()
  for label in ("tiny", *tiny.CLASSES):
    row = [line for line in kept.splitlines() if line.startswith(f"| {label} ")]
    assert [cell.strip() for cell in row[0].strip("|").split("|")] == cells(
      ended.out, label
    )
