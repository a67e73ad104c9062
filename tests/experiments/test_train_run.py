"""experiments/train.py and evaluate.py as processes: killed, started again, judged."""

import csv
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny
from flax import linen as nn

from jaxadv.models import MODELS
from jaxadv.predictions import read_predictions
from jaxadv.victim import load_victim


def history(folder):
  with (folder / "history.csv").open(newline="") as file:
    return [tuple(map(float, row.values())) for row in csv.DictReader(file)]


def test_killed_after_a_checkpoint_it_ends_with_the_same_victim(
  dataset, victim, tmp_path
):
  folder = tmp_path / "broken"
  command = tiny.train(dataset, folder, train__keep="best")
  assert tiny.kill_once(command, (folder / "epochs" / "1").exists)
  assert not (folder / "victim.json").exists()
  assert "goes on after epoch" in tiny.succeed(command).out
  assert [row[0] for row in history(folder)] == [1, 2, 3, 4]
  np.testing.assert_allclose(history(folder), history(victim), rtol=1e-5)
  broken, unbroken = load_victim(str(folder)), load_victim(str(victim))
  assert broken.classes == unbroken.classes == tiny.CLASSES
  # the victim kept its last epoch, the broken run its best: both have both on disk
  assert max(history(victim), key=lambda row: (row[4], -row[3]))[0] < 4
  close(broken.variables, stored(victim)["best"])
  last = stored(folder)["state"]
  close(last["variables"] if isinstance(last, dict) else last[0], unbroken.variables)


def close(one, other):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other
  )


def stored(folder):
  """What the checkpoint of the last epoch holds."""
  with ocp.StandardCheckpointer() as checkpointer:
    at = folder.resolve() / "epochs" / "4"
    return {name: checkpointer.restore(at / name) for name in ("state", "best")}


def test_training_changed_the_variables(victim):
  trained = load_victim(str(victim))
  mean = float(trained.variables["scaler"]["mean"])
  assert -100 < mean < -10  # dB below the maximum
  for leaf in jax.tree.leaves(trained.variables["batch_stats"]):
    assert np.isfinite(leaf).all() and not np.isin(leaf, [0, 1]).all()
  losses = [row[1] for row in history(victim)]
  assert losses[-1] < losses[0]


def test_training_leaves_a_card(victim):
  """Validation as the history says it, clip by clip."""
  *_, accuracy = history(victim)[-1]
  rows = read_predictions(victim / "validation.csv")
  assert len(rows) == 6 and {row.split for row in rows} == {"validation"}
  assert np.mean([row.label == row.predicted for row in rows]) == accuracy
  for row in rows:
    # 24 clips in the order of their classes, 8 of each
    assert row.file == f"{tiny.CLASSES[row.id // 8]}{row.id % 8}.wav"
    assert row.label == tiny.CLASSES[row.id // 8]
    assert 1 / 3 <= row.confidence <= 1
  card = (victim / "card.md").read_text()
  leaves = jax.tree.leaves(load_victim(str(victim)).variables["params"])
  assert f"| numbers in params | {sum(leaf.size for leaf in leaves):,} |" in card
  assert f"| {accuracy:.3f} |" in card and "![curves](learning_curves.png)" in card
  assert (victim / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
  assert (victim / "learning_curves.pdf").read_bytes()[:4] == b"%PDF"


def test_a_trained_victim_is_left_alone(dataset, victim, capsys):
  before = (victim / "victim.json").stat().st_mtime_ns
  ended = tiny.call(tiny.train(dataset, victim), capsys)
  assert ended.code == 0 and "trained already" in ended.out
  assert (victim / "victim.json").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def evaluated(dataset, victim, tmp_path_factory):
  # a copy: the victim's card is written anew
  place = tmp_path_factory.mktemp("evaluated")
  shutil.copytree(victim, place / "tiny")
  command = tiny.evaluate(dataset, place / "tiny", place / "run")
  return place / "run", tiny.succeed(command)


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
  share = f"{right / 6:.3f}"
  assert cells(ended.out, "tiny")[1:6] == ["test", "6", str(right), share, share]
  assert cells(ended.out, "tiny")[6:] == ["0.333", "0"]
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


def test_predictions_are_what_the_victim_says(dataset, evaluated, says):
  folder, _ = evaluated
  rows = read_predictions(folder / "predictions.csv")
  assert [row.id for row in rows] == list(range(6))
  for row in rows:
    assert (row.model, row.split, row.verified) == ("tiny", "test", True)
    assert row.file == f"{tiny.CLASSES[row.id // 2]}{row.id % 2}.wav"
    probs = says(dataset / "FSDKaggle2018.audio_test" / row.file)
    assert row.predicted == tiny.CLASSES[probs.argmax()]
    assert row.confidence == pytest.approx(probs.max(), abs=1e-4)
  card = (folder.parent / "tiny" / "card.md").read_text()
  # training's own validation is kept beside it
  assert "| tiny | validation | 6 |" in card and "| tiny | test | 6 |" in card


OWN = """
import jax.numpy as jnp
from jaxadv.victim import of_function

def loud(name="loud", sign=1):
  def logits(bias, x):
    return bias + sign * jnp.stack([abs(x).max(), 0.0, 0.0])
  return of_function(name, logits, jnp.zeros(3), ("high", "low", "middle"))

def quiet():
  return loud("quiet", -1)
"""


def test_two_victims_on_two_splits_and_a_break(dataset, tmp_path, capsys):
  own, folder = tmp_path / "own.py", tmp_path / "run"
  own.write_text(OWN)
  both = f"{own}:loud,{own}:quiet"
  command = tiny.evaluate(dataset, both, folder, data__split="train,test")
  assert tiny.call(command, capsys).code == 0
  whole = (folder / "predictions.csv").read_text()
  rows = read_predictions(folder / "predictions.csv")
  order = [(row.model, row.split, row.predicted) for row in rows]
  assert order == [
    (model, split, said)
    for model, said in (("loud", "high"), ("quiet", "low"))
    for split, count in (("train", 24), ("test", 6))
    for _ in range(count)
  ]
  for name in ("loud", "quiet"):
    card = (folder / name / "card.md").read_text()
    assert "| numbers in params | 3 |" in card
    assert f"| {name} | train | 24 | 8 | 0.333 | 0.333 | 0.333 |" in card
    assert f"| {name} | test | 6 | 2 | 0.333 | 0.333 | 0.333 |" in card
  assert [row.id for row in rows] == 2 * [*range(24), *range(6)]
  # as a kill after the first victim leaves it, marked to see that it is not run again
  lines = whole.splitlines(keepends=True)
  marked = [lines[0], lines[1].replace("high0.wav", "marked.wav"), *lines[2:31]]
  (folder / "predictions.csv").write_text("".join(marked))
  assert tiny.call(command, capsys).code == 0
  now = (folder / "predictions.csv").read_text().splitlines(keepends=True)
  assert now[:31] == marked and now[31:] == lines[31:]


def test_two_victims_of_one_name_are_refused(dataset, victim, tmp_path, capsys):
  command = tiny.evaluate(dataset, f"{victim},{victim}", tmp_path / "run")
  assert "'tiny'" in tiny.sentence(tiny.call(command, capsys))


def test_features_that_the_network_does_not_take(dataset, tmp_path, capsys):
  command = tiny.train(dataset, tmp_path / "run", train__features="waveform")
  said = tiny.sentence(tiny.call(command, capsys))
  assert "'waveform'" in said and "'vgg13' takes a spectrogram" in said


class Energies(nn.Module):
  """[B, samples] -> dense of the log powers of x and of its first difference."""

  classes: int
  width: float
  bn_momentum: float
  takes: ClassVar[str] = "waveform"

  @nn.compact
  def __call__(self, x, train=False):
    powers = [(one**2).mean(1) for one in (x, jnp.diff(x))]
    norm = nn.BatchNorm(use_running_average=not train, momentum=self.bn_momentum)
    return nn.Dense(self.classes)(norm(jnp.log(jnp.stack(powers, axis=1) + 1e-9)))


def test_a_network_of_waveforms_is_trained(dataset, tmp_path, capsys, monkeypatch):
  """On excerpts that are shorter than most clips, which are validated whole."""
  monkeypatch.setitem(MODELS, "energies", Energies)
  folder = tmp_path / "wav"
  values = {
    "model__network": "energies",
    "model__frontend": "waveform",
    "train__features": "waveform",
    "train__excerpt_samples": 30000,
    "train__epochs": 30,
    "train__learning_rate": 0.1,
    "train__mixup_alpha": 0.2,
    "train__normalise_peak": True,
    "train__mask_noisy": 0.8,
    "train__patience_epochs": 12,
    "runtime__checkpoint_every_epochs": 30,
  }
  ended = tiny.call(tiny.train(dataset, folder, **values), capsys)
  assert ended.code == 0, ended.err
  trained = load_victim(str(folder))
  assert jax.tree.map(float, trained.variables["scaler"]) == {"mean": 0, "deviation": 1}
  rows = read_predictions(folder / "validation.csv")
  assert len(rows) == 6 and sum(row.label == row.predicted for row in rows) >= 4
  best = max(history(folder), key=lambda row: (row[4], -row[3], -row[0]))[0]
  assert len(history(folder)) == min(30, best + 12)
