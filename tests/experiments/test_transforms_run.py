"""Stored adversarials through transforms and back through their own model."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from jaxadv import results

HERE = Path(__file__).parent


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


def test_a_run_goes_on_with_the_same_rows(attacked, victim, transformed, rows, capsys):
  part = results.parts(transformed[0], "transformed")[-1]
  part.unlink()
  command = transforms(attacked[0], victim, transformed[0], runtime__processes=0)
  assert tiny.call(command, capsys).code == 0
  again = results.read(transformed[0], "transformed")

  def keyed(some):
    fields = ("model", "attack", "id", "transform", "transformed_label")
    return sorted(tuple(row[name] for name in fields) for row in some)

  assert keyed(again) == keyed(rows)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"only": "nope"}, "only has 'nope': the sources' attacks are"),
    ({"wavs": "mp3"}, "wavs is 'mp3'"),
    ({"transforms__half__gain_db": "loud"}, "could not convert"),
    ({"transforms__half__transform": "gian"}, "transforms.half.transform is 'gian'"),
    ({"transforms__backwards__function": "no.py:f"}, "transforms.backwards.function"),
    ({"victims": ""}, "no victim is named"),
    ({"victims": "bundled/vgg13"}, "is none of the victims (vgg13)"),
  ],
)
def test_bad_input_is_one_sentence(attacked, victim, tmp_path, capsys, changes, said):
  command = transforms(attacked[0], victim, tmp_path / "run", **changes)
  assert said in tiny.sentence(tiny.call(command, capsys))
