"""experiments/transfer.py and report.py: judged from the files that they read."""

import csv
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import tiny

from jaxadv import results
from jaxadv.predictions import Prediction, write_predictions
from jaxadv.victim import load_victim, save_victim


def transfer(source: Path, victims: Path, workdir: Path, **values: object) -> list[str]:
  """The command that lets all victims listen."""
  given = {"workdir": workdir, "sources": source, "victims": victims}
  values = given | {"runtime__only": ""} | values
  return tiny.command("transfer", tiny.REPO / "configs/transfer.py", **values)


def report(runs: str, out: Path) -> list[str]:
  return tiny.command("report", tiny.REPO / "configs/report.py", runs=runs, out=out)


@pytest.fixture(scope="module")
def victims(victim, tmp_path_factory) -> Path:
  """A folder of two victims: the attacked one, and one with other last weights."""
  folder = tmp_path_factory.mktemp("victims")
  shutil.copytree(victim, folder / "tiny")
  trained, rng = load_victim(str(victim)), np.random.default_rng(0)

  def change(leaf):
    leaf = np.asarray(leaf)
    last = leaf.ndim == 2 and leaf.shape[1] == len(trained.classes)
    noise = rng.normal(0, 0.5 * leaf.std(), leaf.shape)
    return (leaf + noise).astype(leaf.dtype) if last else leaf

  changed = jax.tree.map(change, trained.variables)
  spec = json.loads((victim / "victim.json").read_text())["model"]
  save_victim(folder / "other", spec, trained.classes, changed)
  return folder


@pytest.fixture(scope="module")
def transferred(attacked, victims, tmp_path_factory) -> tuple[Path, tiny.Ended]:
  """Folder and output of a transfer without a break."""
  folder = tmp_path_factory.mktemp("transferred") / "run"
  return folder, tiny.succeed(transfer(attacked[0], victims, folder))


@pytest.fixture(scope="module")
def rows(transferred) -> list[dict]:
  return results.read(transferred[0], "transfer")


def test_each_victim_hears_each_example(attacked, victims, rows):
  source = {(r["attack"], r["id"]): r for r in results.read(attacked[0])}
  assert len(rows) == 2 * len(source) == 24
  for name in ("tiny", "other"):
    trained = load_victim(str(victims / name))

    @jax.jit
    def probabilities(x, trained=trained):
      with jax.default_matmul_precision("highest"):
        return jax.nn.softmax(trained.logits(trained.variables, x))

    def said(wav, probabilities=probabilities):
      x, _ = soundfile.read(attacked[0] / wav, dtype="float32")
      return np.asarray(probabilities(np.pad(x, (0, -len(x) % 65536))))

    heard = {(r["attack"], r["id"]): r for r in rows if r["model"] == name}
    assert set(heard) == set(source)
    for key, row in heard.items():
      made = source[key]
      clean, adversarial = said(made["wav_clean"]), said(made["wav"])
      at = tiny.CLASSES.index(made["label"])
      assert row["clean_label"] == tiny.CLASSES[clean.argmax()]
      assert row["new_label"] == tiny.CLASSES[adversarial.argmax()]
      numbers = [row["gt_conf"], row["new_conf"], row["gt_new_conf"]]
      expected = [clean[at], adversarial.max(), adversarial[at]]
      np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=1e-6)
      for field in ("file", "label", "target", "snr_db"):
        assert row[field] == made[field]
      assert row["source"] == "tiny" and row["method"] == row["attack"]
      assert row["source_success"] == made["success"]
      if name == "tiny":  # the attacked one says it again
        assert row["new_label"] == made["new_label"]
  other = [r for r in rows if r["model"] == "other"]
  # else the test above would be of one victim
  assert any(r["new_label"] != r["source_new_label"] for r in other)


def test_the_tables_hold_what_the_rows_say(transferred, rows):
  folder, ended = transferred
  with (folder / "tables/p1_table_5_deepfool.csv").open(newline="") as file:
    lines = {(r["Model"], r["Number"]): r["tiny"] for r in csv.DictReader(file)}
  for model in ("tiny", "other"):
    some = [r for r in rows if (r["model"], r["attack"]) == (model, "deepfool")]
    changed = np.mean([r["new_label"] != r["clean_label"] for r in some])
    assert float(lines[model, "ours"]) == pytest.approx(100 * changed, rel=1e-5)
    assert lines[model, "clips"] == str(len(some)) == "6"
  assert "P1 Table 5: transfer in %, deepfool" in ended.out
  assert (folder / "tables/p1_table_5_strict.md").is_file()


def test_it_goes_on_with_what_has_no_row(
  attacked, victims, transferred, rows, tmp_path, capsys
):
  folder = tmp_path / "run"
  shutil.copytree(transferred[0], folder)
  first, second = results.parts(folder, "transfer")
  second.unlink()
  before = first.stat().st_mtime_ns
  ended = tiny.call(transfer(attacked[0], victims, folder), capsys)
  assert ended.code == 0
  assert first.stat().st_mtime_ns == before
  again = results.read(folder, "transfer")
  assert len(again) == len(rows) == 24
  for row, other in zip(again, rows, strict=True):  # compiled otherwise (conftest.py)
    for name, value in row.items():
      close = 1e-5 if name.endswith("conf") else 0
      said = pytest.approx(other[name], rel=close) if close else other[name]
      assert value == said, name
  # another start computes nothing
  tiny.call(transfer(attacked[0], victims, folder), capsys)
  assert len(results.parts(folder, "transfer")) == 2


def test_sounds_that_are_gone_are_left_out(attacked, victims, tmp_path, capsys):
  copy = tmp_path / "source"
  shutil.copytree(attacked[0], copy)
  gone, *_ = [r for r in results.read(copy) if r["attack"] == "pgd"]
  (copy / gone["wav_clean"]).unlink()
  command = transfer(copy, victims / "tiny", tmp_path / "run", runtime__only="pgd")
  ended = tiny.call(command, capsys)
  assert ended.code == 0 and f"{gone['wav_clean']}: missing" in ended.out
  rows = results.read(tmp_path / "run", "transfer")
  assert {r["attack"] for r in rows} == {"pgd"}
  assert len(rows) == 5 and gone["file"] not in {r["file"] for r in rows}


def test_transfer_refuses(attacked, victims, victim, transferred, tmp_path, capsys):
  def refused(*folders, **values):
    command = transfer(*folders, tmp_path / "run", **values)
    return tiny.sentence(tiny.call(command, capsys))

  source = attacked[0]
  assert "no rows" in refused(victims, victims)
  assert "there is no folder nowhere" in refused("nowhere", victims)
  assert "/nowhere" in refused(source, "/nowhere")
  assert "sources names no folder" in refused("", victims)
  assert "'pdg'" in refused(source, victims, runtime__only="pdg")
  said = refused(source, f"{victims},{victim}")
  assert "both named tiny" in said
  other = tmp_path / "three"
  shutil.copytree(victim, other)
  described = json.loads((other / "victim.json").read_text())
  described["classes"][0] = "Tuba"
  (other / "victim.json").write_text(json.dumps(described))
  assert "different classes ('Tuba'" in refused(source, other)
  assert not (tmp_path / "run").exists()
  command = transfer(source, victims / "tiny", transferred[0])
  assert "victims was" in tiny.sentence(tiny.call(command, capsys))


def test_report_makes_what_the_folders_allow(attacked, transferred, tmp_path, capsys):
  run = tmp_path / "run"
  shutil.copytree(attacked[0], run, ignore=shutil.ignore_patterns("rows"))
  # of one attack, because figures take their time
  found = [r for r in results.read(attacked[0]) if r["attack"] == "deepfool"]
  results.append(run, found)
  said = Prediction("tiny", "test", 0, "a.wav", "low", True, "high", 0.5)
  write_predictions(tmp_path / "evaluated/predictions.csv", [said])
  folders = f"{run},{transferred[0]},{tmp_path / 'evaluated'}"
  ended = tiny.call(report(folders, tmp_path / "out"), capsys)
  assert ended.code == 0, ended.err
  stems = {path.stem for path in (tmp_path / "out").glob("p1_*.csv")}
  pooled = ("p1_table_5", "p1_table_5_deepfool", "p1_table_5_pgd")
  assert stems == {
    *("p1_table_1", "p1_table_2", "p1_table_3a", "p1_per_class", "p1_spectrum"),
    *(stem + end for stem in pooled for end in ("", "_strict")),
  }
  for title in ("P1 Table 1", "P1 Table 2", "P1 Table 3a", "P1 Table 5"):
    assert title in ended.out
  assert "figures, shown in" in ended.out
  assert list((tmp_path / "out").glob("*.png"))
  right = [r for r in found if r["clean_correct"]]
  with (tmp_path / "out/p1_table_2.csv").open(newline="") as file:
    ours, *_ = csv.DictReader(file)
  rate = 100 * np.mean([r["success"] for r in right])
  assert float(ours["Success %"]) == pytest.approx(rate, rel=1e-5)
  assert (ours["Attack"], int(ours["Clips"])) == ("deepfool", len(right))


def test_report_refuses(attacked, tmp_path, capsys):
  def refused(runs, out=tmp_path / "out"):
    return tiny.sentence(tiny.call(report(runs, out), capsys))

  assert "--config.runs=DIR" in refused("")
  assert "holds no rows" in refused(tmp_path)
  copy = tmp_path / "copy"
  shutil.copytree(attacked[0], copy)
  assert "of the same config: give one" in refused(f"{attacked[0]},{copy}")
  (tmp_path / "file").write_text("all I have")
  assert "can't be written" in refused(copy, tmp_path / "file")
  (copy / "rows/part-000001.parquet").write_bytes(b"not parquet")
  assert "damaged" in refused(copy)
