"""Predictions on disk; the numbers of a model card against counts by hand."""

import numpy as np
import pytest

from jaxadv import cost
from jaxadv.errors import InputError
from jaxadv.predictions import Prediction, read_predictions, write_predictions
from jaxadv.report import card

CLASSES = ("a", "b|c", "d")
# (label, predicted, verified)
TEST = [("a", "a", True)] * 3 + [("a", "d", True), ("d", "d", True), ("d", "a", True)]
TRAIN = [("a", "a", False), ("b|c", "b|c", True), ("b|c", "a", False), ("d", "d", True)]


def predictions() -> list[Prediction]:
  return [
    Prediction("net", split, n, f"{n}.wav", label, verified, said, 0.25 + n / 10)
    for split, rows in (("test", TEST), ("train", TRAIN))
    for n, (label, said, verified) in enumerate(rows)
  ]


def table(text: str, title: str) -> list[list[str]]:
  """Cells of the rows below a heading; the rule is left out."""
  part = text.split(f"## {title}\n")[1].split("\n## ")[0]
  rows = [line for line in part.splitlines() if line.startswith("|")]
  cells = [row.replace("\\|", "/").strip("|").split("|") for row in rows]
  return [[cell.strip() for cell in row] for n, row in enumerate(cells) if n != 1]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  folder = tmp_path_factory.mktemp("card")
  config = {"seed": 7, "data": {"root": "bundled"}}
  facts = {"machine": "an abacus", "network": "a*b"}
  card.write_card(folder, "net", facts, predictions(), CLASSES, config)
  return folder, (folder / "card.md").read_text()


def test_accuracies_by_hand(written):
  heads, *rows = table(written[1], "Accuracy")
  assert heads == ["Model", "split", "clips", "right", "accuracy", "verified", "chance"]
  assert rows == [
    ["net", "test", "6", "4", "0.667", "0.667", "0.333"],
    # 3 of 4, and both of the verified two
    ["net", "train", "4", "3", "0.750", "1.000", "0.333"],
  ]


def test_recall_and_precision_by_hand(written):
  _, *rows = table(written[1], "Accuracy per class")
  assert rows == [
    # test: 3 of 4 are named a, 3 of 4 named a are a; train: 1 of 1, 1 of 2
    ["a", "4", "3", "0.750", "0.750", "1", "1", "1.000", "0.500"],
    ["b/c", "0", "0", "-", "-", "2", "1", "0.500", "1.000"],
    ["d", "2", "1", "0.500", "0.500", "1", "1", "1.000", "1.000"],
  ]


def test_confusions_by_hand(written):
  folder, text = written
  assert table(text, "Confusion: test")[1:] == [
    ["a", "3", ".", "1", "0.75"],
    ["b/c", ".", ".", ".", "0.00"],
    ["d", "1", ".", "1", "0.50"],
  ]
  assert table(text, "Confusion: train")[1:] == [
    ["a", "1", ".", ".", "1.00"],
    ["b/c", "1", "1", ".", "0.50"],
    ["d", ".", ".", "1", "1.00"],
  ]
  for split in ("test", "train"):
    assert f"![confusion matrix](confusion_{split}.png)" in text
    assert (folder / f"confusion_{split}.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / f"confusion_{split}.pdf").read_bytes()[:4] == b"%PDF"


def test_facts_and_config_are_in_it(written):
  _, text = written
  assert "| machine | an abacus |" in text and "a\\*b" in text
  assert '"seed": 7' in text and '"root": "bundled"' in text
  assert "learning_curves" not in text


def test_skipped_clips_are_counted():
  groups = card.group_predictions(predictions())
  made = card.accuracy(groups, {"net": 3}, {("net", "train"): 2})
  assert [row[-1] for row in made.rows] == ["0", "2"]
  assert list(groups) == [("net", "test"), ("net", "train")]


def test_predictions_come_back(tmp_path):
  path = tmp_path / "predictions.csv"
  assert read_predictions(path) == []
  rows = [
    *predictions(),
    Prediction("x", "test", 1, 'a "b",\nc.wav', "é", True, "d", 1),
  ]
  write_predictions(path, rows)
  assert read_predictions(path) == rows
  heads = "model,split,id,file,label,verified,predicted,confidence"
  lines = path.read_text().splitlines()
  assert lines[:2] == [heads, "net,test,0,0.wav,a,1,a,0.25"]
  assert lines[7] == "net,train,0,0.wav,a,0,a,0.25"


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "\x00\x01", "id\nseven\n"])
def test_another_table_is_refused(tmp_path, text):
  path = tmp_path / "predictions.csv"
  path.write_text(text)
  if text.count("\n") < 2:
    assert read_predictions(path) == []  # a header at most: no rows
    return
  with pytest.raises(InputError, match=r"predictions\.csv is no table"):
    read_predictions(path)


def test_parameters_are_counted():
  tree = {
    "params": {"dense": {"kernel": np.zeros((3, 4)), "bias": np.zeros(4)}},
    "batch_stats": {"norm": {"mean": np.zeros(5), "var": np.zeros(5)}},
    "scaler": {"mean": np.float32(0)},
  }
  counted = cost.count_parameters(tree)
  assert counted == {"params": 16, "batch_stats": 10, "scaler": 1}
  assert cost.count_parameters([np.zeros((2, 3)), np.zeros(1)]) == {"params": 7}


def test_facts_name_what_was_measured():
  def logits(variables, x):
    return variables["params"] * x[:3]

  forward, gradient = cost.measure_ms(logits, {"params": 2.0})
  assert 0 < forward < 1000 and 0 < gradient < 1000
  facts = cost.facts(logits, {"params": np.ones(3)})
  assert facts["numbers in params"] == "3"
  assert "65536 samples" in facts["forward"] and "cpu" in facts["machine"]
