"""Victims that users bring: attacked through a config like ours."""

import csv
import json
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import own_victim
import pytest
import safetensors.numpy
import soundfile
import tiny

from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.victim import load_victim

FILE = Path(__file__).parent / "own_victim.py"
CLASS_OF_BAND = ("low", "middle", "high")


@pytest.fixture
def tensors(tmp_path, monkeypatch) -> Path:
  """The module's weights, as another library would write them."""
  path = tmp_path / "weights.safetensors"
  arrays = {
    "params/Dense_0/kernel": np.asarray(own_victim.weights()),
    "params/Dense_0/bias": np.zeros(3, np.float32),
  }
  safetensors.numpy.save_file(arrays, path)
  monkeypatch.setenv("WEIGHTS", str(path))
  return path


def test_a_function_is_attacked_to_the_end(dataset, tmp_path):
  command = tiny.attack(
    dataset, f"{FILE}:function", tmp_path / "run", runtime__only="deepfool"
  )
  said = tiny.succeed(command)
  rows = results.read(tmp_path / "run")
  assert rows and {row["model"] for row in rows} == {"loudest"}
  # what it says of clean clips is known: the loudest band
  assert all(row["clean_correct"] and row["success"] for row in rows)
  assert "loudest" in said.out
  fooled = rows[0]
  x, _ = soundfile.read(tmp_path / "run" / fooled["wav"], dtype="float32")
  levels = np.asarray(own_victim.band_levels(x))
  assert CLASS_OF_BAND[levels.argmax()] == fooled["new_label"] != fooled["label"]


@pytest.mark.parametrize(
  "defence, flag",
  [
    ("rounding", "gradient_stopped"),  # of so many samples some cross a step
    ("gradient_stopped", "gradient_stopped"),
    ("probabilities", "probabilities"),
    ("saturated", "saturated"),
  ],
)
def test_a_broken_defence_is_told_everywhere(defence, flag, dataset, tmp_path, capsys):
  """On the terminal, in guards.json, in the summary's list and on the page."""
  folder, place = tmp_path / "run", f"{FILE}:{defence}"
  few = {"runtime__only": "pgd", "data__clips_per_class": 1}
  ended = tiny.call(tiny.attack(dataset, place, folder, **few), capsys)
  assert ended.code == 0
  told = json.loads((folder / "guards.json").read_text())
  (found,) = [one for one in told["flags"] if one["name"] == flag]
  assert f"guard {flag}: {found['said']}" in ended.out
  assert len(found["examples"]) == 3
  summary = (folder / "summary.md").read_text()
  assert found["said"][:40] in summary
  listed = (folder / "tables" / "flagged.csv").read_text()
  page = (folder / "index.html").read_text()
  page = page[page.index('id="guards"') : page.index('id="figures"')]
  for file in found["examples"]:
    assert f"| {flag} | - | {file} |" in summary.replace("\\", "")
    assert f"{flag},-,{file}" in listed
    assert page.count(file) >= 1


def test_what_it_has_no_answer_to_has_no_row_and_is_listed(dataset, tmp_path, capsys):
  folder = tmp_path / "run"
  command = tiny.attack(
    dataset,
    f"{FILE}:silent_on_long_clips",
    folder,
    runtime__only="white_noise,pgd",
    attacks__pgd__steps=2,
  )
  assert tiny.call(command, capsys).code == 0
  with open(folder / "skipped.csv", newline="") as file:
    skipped = {row["file"]: row["reason"] for row in csv.DictReader(file)}
  long = {
    f"{attack} {label}1.wav"
    for attack in ("white_noise", "pgd")
    for label in tiny.CLASSES
  }
  assert skipped == dict.fromkeys(long, "the victim says NaN or infinity")
  assert {row["file"] for row in results.read(folder)} == {
    f"{label}0.wav" for label in tiny.CLASSES
  }


def test_no_experiment_counts_what_it_has_no_answer_to(
  dataset, attacked, tmp_path, capsys
):
  silent, folder = f"{FILE}:silent_on_long_clips", tmp_path / "evaluated"
  assert tiny.call(tiny.evaluate(dataset, silent, folder), capsys).code == 0
  assert listed(folder) == {f"{label}1.wav" for label in tiny.CLASSES}
  with open(folder / "predictions.csv", newline="") as file:
    heard = {row["file"] for row in csv.DictReader(file)}
  assert heard == {f"{label}0.wav" for label in tiny.CLASSES}

  config, folder = tiny.REPO / "configs/transfer.py", tmp_path / "transferred"
  values = {"sources": attacked[0], "victims": silent, "runtime__only": ""}
  command = tiny.command("transfer", config, workdir=folder, **values)
  assert tiny.call(command, capsys).code == 0
  made = results.read(attacked[0])
  long = {row["id"] for row in made if row["file"].endswith("1.wav")}
  heard = {row["id"] for row in results.read(folder, "transfer")}
  assert heard == {row["id"] for row in made} - long
  assert listed(folder) >= {
    str(attacked[0] / row["wav"]) for row in made if row["id"] in long
  }

  folder = tmp_path / "universal"
  command = tiny.universal(dataset, folder, silent)
  assert tiny.call(command, capsys).code == 0
  assert listed(folder) >= {f"{label}1.wav" for label in tiny.CLASSES}


def listed(folder: Path) -> set[str]:
  """The files of skipped.csv that the victim has no answer to."""
  with open(folder / "skipped.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  return {r["file"] for r in rows if r["reason"] == "the victim says NaN or infinity"}


def test_a_flax_module_says_what_the_function_says(tensors, tmp_path):
  x = np.random.default_rng(0).normal(0, 0.1, 65536).astype(np.float32)
  function, module = (load_victim(f"{FILE}:{name}") for name in ("function", "module"))
  expected = function.logits(function.variables, x)
  assert np.ptp(expected) > 1
  np.testing.assert_allclose(module.logits(module.variables, x), expected, rtol=1e-5)
  assert module.digest != function.digest


def test_its_variables_come_from_orbax_too(tensors, tmp_path, monkeypatch):
  before = load_victim(f"{FILE}:module")
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "orbax", before.variables)
  monkeypatch.setenv("WEIGHTS", str(tmp_path / "orbax"))
  after = load_victim(f"{FILE}:module")
  assert after.digest == before.digest


def test_variables_of_another_module_are_refused(tensors):
  arrays = safetensors.numpy.load_file(tensors)
  arrays["params/Dense_0/bias"] = np.zeros(4, np.float32)
  safetensors.numpy.save_file(arrays, tensors)
  with pytest.raises(InputError, match=r"bias.* has shape \(4,\) and should have"):
    load_victim(f"{FILE}:module")
  tensors.write_bytes(b"nothing")
  with pytest.raises(InputError, match="missing or damaged"):
    load_victim(f"{FILE}:module")


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("two_logits", r"one vector of shape \(3,\)"),
    ("raises", "can't be traced on a clip of 65536 samples"),
    ("not_a_victim", "of_function"),
    ("needs", "no function without arguments"),
    ("weigths", "can't be imported"),
    ("CLASSES", "no function without arguments"),
  ],
)
def test_what_is_no_victim_is_refused_in_a_sentence(name, said):
  with pytest.raises(InputError, match=said) as refused:
    load_victim(f"{FILE}:{name}")
  assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there():
  for path in ("nowhere.py:make", "no_module_of_this_name:make"):
    with pytest.raises(InputError, match="can't be imported"):
      load_victim(path)
