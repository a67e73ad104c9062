"""Stored adversarials through transforms and back through their own model."""

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from jaxadv import results, stored
from jaxadv.errors import InputError
from jaxadv.report.folder import read_run

HERE = Path(__file__).parent
COUNTER = """
def counted(x):
  with open("{heard}", "a") as file:
    file.write("x")
  return -x
"""
KILLER = """
import os, signal
from pathlib import Path

def killed(x):
  if Path("{flag}").exists() and len(x) > 32000:
    os.kill(os.getpid(), signal.SIGKILL)
  return -x
"""


def transforms(source: Path, victim: Path, workdir: Path, **values) -> list[str]:
  given = {"workdir": workdir, "sources": source, "victims": victim} | values
  return tiny.command("transforms", HERE / "transforms_config.py", **given)


@pytest.fixture(scope="module")
def transformed(attacked, victim, tmp_path_factory) -> tuple[Path, tiny.Ended]:
  folder = tmp_path_factory.mktemp("transformed") / "run"
  return folder, tiny.succeed(transforms(attacked[0], victim, folder))


@pytest.fixture(scope="module")
def rows(transformed) -> list[dict]:
  return results.read(transformed[0], "transformed")


@pytest.fixture(scope="module")
def expected(transformed) -> dict[tuple, dict]:
  return read(transformed[0])


def read(folder: Path) -> dict[tuple, dict]:
  """The rows by what tells them apart, each of which must be there once."""
  rows = results.read(folder, "transformed")
  found = {(row["attack"], row["id"], row["transform"]): row for row in rows}
  assert len(found) == len(rows)
  return found


def assert_same(some: dict[tuple, dict], expected: dict[tuple, dict]) -> None:
  """Another process, and other clips in a batch, may round otherwise."""
  assert sorted(some) == sorted(expected)
  for key, row in some.items():
    for name, value in row.items():
      if isinstance(value, float):
        assert value == pytest.approx(expected[key][name], abs=2e-6)
      elif name not in ("config_hash", "device"):
        assert value == expected[key][name]


def test_successes_and_their_clean_clips_go_through(attacked, rows):
  made = results.read(attacked[0])
  won = {(r["attack"], r["id"]) for r in made if r["clean_correct"] and r["success"]}
  clean = {r["file"] for r in made if r["clean_correct"]}
  assert 0 < len(won) < len(made)
  for name in ("half", "noise_10", "backwards"):
    mine = [row for row in rows if row["transform"] == name]
    heard = [(r["attack"], r["id"]) for r in mine if r["attack"] != "clean"]
    assert sorted(heard) == sorted(won)
    assert sorted(r["file"] for r in mine if r["attack"] == "clean") == sorted(clean)


@pytest.mark.parametrize(
  ("name", "function"),
  [("half", lambda x: x / 2), ("backwards", lambda x: x[::-1])],
)
def test_the_row_is_what_the_model_says_of_the_transformed_file(
  attacked, rows, says, tmp_path, name, function
):
  by_key = {(r["attack"], r["id"]): r for r in results.read(attacked[0])}
  mine = [row for row in rows if row["transform"] == name]
  for row in mine:
    clean = row["attack"] == "clean"
    sources = [r for r in by_key.values() if r["file"] == row["file"]]
    source = sources[0] if clean else by_key[row["attack"], row["id"]]
    wav = source["wav_clean" if clean else "wav"]
    x, _ = soundfile.read(attacked[0] / wav, dtype="float32")
    path = tmp_path / f"{row['attack']}_{row['id']}.wav"
    soundfile.write(path, function(x), 32000, subtype="FLOAT")
    probs = says(path)
    assert row["transformed_label"] == tiny.CLASSES[probs.argmax()]
    np.testing.assert_allclose(row["transformed_conf"], probs.max(), atol=1e-3)
    at = tiny.CLASSES.index(row["label"])
    np.testing.assert_allclose(row["gt_conf"], probs[at], atol=1e-3)
    before = source["clean_label" if clean else "new_label"]
    assert row["new_label"] == before


def test_a_transform_that_fails_is_listed(attacked, transformed, rows):
  with open(transformed[0] / "skipped.csv", newline="") as file:
    skipped = {entry["file"]: entry["reason"] for entry in csv.DictReader(file)}
  assert skipped and all(name.endswith(" broken") for name in skipped)
  assert set(skipped.values()) == {"ValueError: too long for me"}
  kept = [row for row in rows if row["transform"] == "broken"]
  others = [row for row in rows if row["transform"] == "half"]
  assert kept and len(kept) + len(skipped) == len(others)
  assert "too long for me" in transformed[1].out


def test_the_tables_count_the_rows(transformed, rows):
  table = (transformed[0] / "tables" / "p0_table_3.csv").read_text()
  first = next(csv.DictReader(table.splitlines()))
  name = first["Transform"]
  mine = [r for r in rows if r["transform"] == name and r["attack"] != "clean"]
  by_attack = {}
  for row in mine:
    by_attack.setdefault(row["attack"], []).append(
      row["transformed_label"] == row["label"]
    )
  expected = 100 * np.mean([np.mean(right) for right in by_attack.values()])
  assert float(first["GT %"]) == pytest.approx(expected, abs=1e-3)
  assert (transformed[0] / "figures" / "p0_defences.png").exists()


@pytest.mark.parametrize(
  "workers", [{"threads": 1}, {"threads": 4}, {"processes": 1}, {"processes": 4}]
)
def test_the_same_rows_by_any_number_of_workers(
  attacked, victim, expected, tmp_path, capsys, workers
):
  changes = {f"runtime__{name}": count for name, count in workers.items()}
  command = transforms(attacked[0], victim, tmp_path / "run", **changes)
  assert tiny.call(command, capsys).code == 0
  assert_same(read(tmp_path / "run"), expected)


def test_a_run_that_is_killed_goes_on_to_the_same_rows(
  attacked, victim, expected, tmp_path, capsys
):
  folder = tmp_path / "run"
  command = transforms(attacked[0], victim, folder)
  slow = [sys.executable, str(HERE / "slow_transforms.py"), *command[2:]]

  def stored():
    return len(results.parts(folder, "transformed")) >= 3

  assert tiny.kill_once(slow, stored)
  left = read(folder)
  assert set(left) < set(expected)
  assert tiny.call(command, capsys).code == 0
  rows = read(folder)
  assert_same(rows, expected)
  assert all(rows[key] == row for key, row in left.items())


def test_a_run_that_goes_on_does_what_is_missing_and_nothing_else(
  attacked, victim, tmp_path, capsys
):
  """A transform that fails on some clips is tried again on these, and no other is."""
  folder, heard = tmp_path / "run", tmp_path / "heard"
  (tmp_path / "own.py").write_text(COUNTER.format(heard=heard))
  changes = {"transforms__backwards__function": f"{tmp_path}/own.py:counted"}
  command = transforms(attacked[0], victim, folder, **changes)
  assert tiny.call(command, capsys).code == 0
  first, before = heard.read_text(), read(folder)
  assert first and any(row["transform"] == "broken" for row in before.values())
  assert (folder / "skipped.csv").read_text().count("too long for me") > 0
  assert tiny.call(command, capsys).code == 0
  assert heard.read_text() == first and read(folder) == before
  assert (folder / "skipped.csv").read_text().count("too long for me") > 0


def test_a_killed_worker_is_one_sentence_and_the_rest_is_kept(
  attacked, victim, tmp_path, capsys
):
  folder, flag = tmp_path / "run", tmp_path / "flag"
  (tmp_path / "own.py").write_text(KILLER.format(flag=flag))
  changes = {
    "transforms__backwards__function": f"{tmp_path}/own.py:killed",
    "runtime__processes": 1,
  }
  command = transforms(attacked[0], victim, folder, **changes)
  flag.touch()
  said = tiny.sentence(tiny.call(command, capsys))
  assert "one of the 1 worker processes was killed" in said and "goes on" in said
  flag.unlink()
  before = results.read(folder, "transformed")
  assert tiny.call(command, capsys).code == 0
  rows = read(folder)
  assert len(before) < len(rows)
  assert all(row in rows.values() for row in before)
  names = [row["transform"] for row in rows.values()]
  assert names.count("backwards") == names.count("half") > 0


def test_what_the_victim_has_no_answer_to_is_listed(attacked, victim, tmp_path, capsys):
  folder = tmp_path / "run"
  (tmp_path / "own.py").write_text("def loud(x):\n  return x / abs(x).max() * 3e38\n")
  changes = {"transforms__backwards__function": f"{tmp_path}/own.py:loud"}
  command = transforms(attacked[0], victim, folder, **changes)
  assert tiny.call(command, capsys).code == 0
  names = {row["transform"] for row in read(folder).values()}
  assert "half" in names and "backwards" not in names
  assert (
    "backwards,the victim says NaN or infinity" in (folder / "skipped.csv").read_text()
  )
  # rows of two functions must not be mixed
  (tmp_path / "own.py").write_text("def loud(x):\n  return x\n")
  assert "own.py was" in tiny.sentence(tiny.call(command, capsys))


def test_files_of_16_bits_are_judged_as_they_are(attacked, victim, tmp_path, capsys):
  (tmp_path / "own.py").write_text("def same(x):\n  return x\n")
  changes = {"transforms__backwards__function": f"{tmp_path}/own.py:same"}
  command = transforms(
    attacked[0], victim, tmp_path / "run", wavs="wav_pcm16", **changes
  )
  assert tiny.call(command, capsys).code == 0
  same = [r for r in read(tmp_path / "run").values() if r["transform"] == "backwards"]
  floats = {(r["attack"], r["id"]): r["new_conf"] for r in results.read(attacked[0])}
  moved = 0
  for row in same:
    assert row["new_label"] == row["transformed_label"]
    if row["attack"] != "clean":
      assert row["new_conf"] == pytest.approx(row["transformed_conf"], abs=1e-6)
      moved += abs(row["new_conf"] - floats[row["attack"], row["id"]]) > 1e-5
  assert moved


def test_two_clips_of_one_name_are_refused(attacked):
  run, settings = read_run(attacked[0]), {"wavs": "wav", "examples": "all"}
  other = run._replace(rows=[row | {"clip_sha256": "x"} for row in run.rows])
  assert stored.choose_examples([run, run], ["pgd"], settings, [])
  with pytest.raises(InputError, match="are not the same"):
    stored.choose_examples([run, other], ["pgd"], settings, [])


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"only": "nope"}, "only has 'nope': the sources' attacks are"),
    ({"wavs": "mp3"}, "wavs is 'mp3': choose from wav, wav_pcm16"),
    ({"examples": "some"}, "examples is 'some': choose from successes, all"),
    ({"transforms__half__gain_db": "loud"}, "could not convert"),
    (
      {"transforms__half__transform": "gian"},
      "half.transform is 'gian': choose from chain, mp3",
    ),
    ({"transforms__backwards__function": "no.py:f"}, "transforms.backwards.function"),
    ({"sources": ","}, "sources names no folder: give --config.sources=DIR,DIR"),
    ({"victims": ""}, "no victim is named"),
    ({"victims": "bundled/vgg13"}, "is none of the victims (vgg13)"),
  ],
)
def test_bad_input_is_one_sentence(attacked, victim, tmp_path, capsys, changes, said):
  command = transforms(attacked[0], victim, tmp_path / "run", **changes)
  assert said in tiny.sentence(tiny.call(command, capsys))
  assert not (tmp_path / "run").exists()  # the corrected command may have it


def test_clean_clips_of_two_splits_are_not_one(monkeypatch):
  """Ids begin anew in each split: a finished one must not hide the other."""
  monkeypatch.syspath_prepend(str(HERE.parents[1] / "experiments"))
  row_key = importlib.import_module("transforms").row_key
  row = {"model": "m", "attack": "clean", "target": None, "id": 1, "transform": "mp3"}
  assert row_key(row | {"file": "a.wav"}) != row_key(row | {"file": "b.wav"})
  assert row_key(row | {"file": "a.wav"}) == row_key(row | {"file": "a.wav"})
