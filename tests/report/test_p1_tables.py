"""P1's tables of hand-made rows, against tables computed by hand.

Over 300 lines: the hand-made runs serve all of its tests.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_by_hand import make_row

from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.predictions import Prediction, write_predictions
from jaxadv.report import papers
from jaxadv.report.gather import gather
from jaxadv.report.grid import to_table, write_grids
from jaxadv.report.intervals import Interval
from jaxadv.report.p1 import tables
from jaxadv.report.p1_transfer import transfer_tables

CLASSES = ["Bass_drum", "Cello", "Oboe"]
WRONG = {"clean_correct": False, "clean_label": "Oboe"}
LOST = {"success": False, "new_label": "Cello"}


def write_run(folder: Path, model: str, rows: list[dict], **changed) -> Path:
  """A run's folder: rows of one model, run.json and config.json."""
  rows = [row | {"model": model, "config_hash": f"of {folder.name}"} for row in rows]
  results.append(folder, rows)
  config = {
    "data": {"root": "here", "split": "test"},
    "targets": "",
    "attacks": {"df": {"method": "deepfool"}, "cw": {"method": "carlini_wagner"}},
  }
  (folder / "run.json").write_text(json.dumps({"classes": CLASSES, "model": model}))
  (folder / "config.json").write_text(json.dumps(config | changed))
  return folder


def untargeted(folder: Path) -> Path:
  """A folder of two runs of DeepFool. VGG13: two of three right clips fall, and so does
  one that was wrong. CRNN: one of two."""
  vgg13 = [
    make_row(0, "df", snr_db=50.0, gt_conf=0.9, new_conf=0.4, gt_new_conf=0.3),
    make_row(1, "df", snr_db=30.0, gt_conf=0.7, new_conf=0.6, gt_new_conf=0.1),
    make_row(2, "df", snr_db=10.0, **LOST),
    make_row(3, "df", snr_db=np.inf, gt_conf=0.2, **WRONG),
  ]
  crnn = [
    make_row(0, "df", snr_db=20.0, gt_conf=0.5, new_conf=0.3, gt_new_conf=0.2),
    make_row(1, "df", snr_db=99.0, **LOST),
  ]
  write_run(folder / "crnn", "my_crnn", crnn)
  write_run(folder / "vgg13", "my_vgg13", vgg13)
  return folder


def made(*folders: Path):
  found = gather(folders)
  return tables(found.runs, found.predictions)


def cells(grid) -> dict[tuple[str, ...], dict[str, float]]:
  """(first text cells, up to the kind of line) -> column -> value."""
  names = [column.name for column in grid.columns]
  at = names.index("Number") + 1 if "Number" in names else 2
  return {
    row[:at]: {
      name: cell.value if isinstance(cell, Interval) else cell
      for name, cell in zip(names[at:], row[at:], strict=True)
    }
    for row in grid.rows
  }


def test_table_2_is_the_mean_of_the_models_means(tmp_path):
  grid = made(untargeted(tmp_path))["p1_table_2"]
  found = cells(grid)
  ours, everything, paper = found.values()
  assert list(found) == [("df", "ours"), ("df", "ours, all clips"), ("df", "P1")]
  assert (ours["Models"], ours["Clips"]) == (2, 5)
  assert ours["Success %"] == pytest.approx((2 / 3 + 1 / 2) / 2)
  assert ours["New"] == pytest.approx((0.5 + 0.3) / 2)
  assert ours["GT-new"] == pytest.approx((0.2 + 0.2) / 2)
  # of the three successes it would be 33.3
  assert ours["SNR mean dB"] == pytest.approx((40 + 20) / 2)
  assert everything["Clips"] == 6
  assert everything["Success %"] == pytest.approx((3 / 4 + 1 / 2) / 2)
  assert everything["SNR mean dB"] == pytest.approx(30)  # inf is no number
  assert (paper["Success %"], paper["SNR mean dB"]) == (0.9999, 41.81)
  assert "Not alike" not in grid.caption


def test_the_median_is_of_each_model(tmp_path):
  rows = [make_row(n, "df", snr_db=snr) for n, snr in enumerate([10.0, 20.0, 90.0])]
  write_run(tmp_path / "a", "a", rows)
  write_run(tmp_path / "b", "b", [make_row(0, "df", snr_db=60.0)])
  ours = cells(made(tmp_path)["p1_table_2"])["df", "ours"]
  assert ours["SNR median dB"] == pytest.approx((20 + 60) / 2)
  assert ours["SNR mean dB"] == pytest.approx((40 + 60) / 2)


def test_table_3_is_per_model_in_the_papers_order(tmp_path):
  found = cells(made(untargeted(tmp_path))["p1_table_3a"])
  assert [key[1] for key in found] == ["my_vgg13"] * 3 + ["my_crnn"] * 3
  ours = found["df", "my_vgg13", "ours"]
  expected = (2 / 3, 0.8, 0.5, 0.2, 40, 40)
  assert list(ours.values()) == pytest.approx([3, *expected])
  assert found["df", "my_vgg13", "ours, all clips"]["GT"] == pytest.approx(0.6)
  assert found["df", "my_vgg13", "P1"]["SNR mean dB"] == 52.47
  assert found["df", "my_crnn", "P1"]["SNR mean dB"] == 49.40


def test_an_attack_that_the_paper_lacks_has_a_table_of_its_own(tmp_path):
  write_run(tmp_path, "yamnet", [make_row(0, "pgd"), make_row(1, "cw")])
  grids = made(tmp_path)
  assert set(grids) == {
    *("p1_table_2", "p1_table_3b", "p1_table_3_pgd", "p1_per_class"),
  }
  assert "P1" not in {row[2] for row in grids["p1_table_3_pgd"].rows}
  # the paper has the attack, and not the model
  assert {row[2] for row in grids["p1_table_3b"].rows} == {"ours", "ours, all clips"}
  assert [row[:2] for row in grids["p1_table_2"].rows][2] == ("cw", "P1")


def targeted(folder: Path) -> Path:
  to_oboe = {"label": "Cello", "target": "Oboe"}
  vgg13 = [
    make_row(0, "cw", snr_db=50.0, snr_of_mean_db=101.0, **to_oboe),
    make_row(1, "cw", snr_db=54.0, snr_of_mean_db=99.0, **to_oboe),
    make_row(2, "cw", snr_db=0.0, snr_of_mean_db=0.0, **to_oboe, **LOST),
    make_row(3, "cw", snr_db=70.0, label="Cello", target="Bass_drum"),
    make_row(4, "cw", snr_db=9.0, **to_oboe | WRONG),
    make_row(5, "cw", label="Oboe", target="Cello", **LOST),
  ]
  crnn = [make_row(0, "cw", snr_db=40.0, snr_of_mean_db=88.0, **to_oboe)]
  write_run(folder / "t_vgg13", "vgg13", vgg13, targets="all")
  write_run(folder / "t_crnn", "crnn", crnn, targets="all")
  return folder


def test_table_4_is_true_class_against_target(tmp_path):
  grids = made(targeted(tmp_path))
  grid = grids["p1_table_4_cw"]
  assert [c.name for c in grid.columns] == ["Class", "Number", *CLASSES]
  found = cells(grid)
  assert found["Cello", "ours"]["Oboe"] == pytest.approx((52 + 40) / 2)
  assert found["Cello", "of the mean"]["Oboe"] == pytest.approx((100 + 88) / 2)
  assert found["Cello", "P1"] == {"Bass_drum": 105.8, "Cello": None, "Oboe": 105.9}
  # of one model, with a row that has no number of the other kind
  assert found["Cello", "ours"]["Bass_drum"] == 70
  assert found["Cello", "of the mean"]["Bass_drum"] is None
  # a target that was never reached, and one that was not tried
  assert found["Oboe", "ours"]["Cello"] is found["Oboe", "ours"]["Bass_drum"] is None
  success = cells(grids["p1_table_4_cw_success"])
  assert success["Cello", "ours"]["Oboe"] == pytest.approx((2 / 3 + 1) / 2)
  assert success["Cello", "ours, all clips"]["Oboe"] == pytest.approx((3 / 4 + 1) / 2)
  assert success["Oboe", "ours"] == {"Bass_drum": None, "Cello": 0, "Oboe": None}
  assert "p1_table_2" not in grids  # nothing untargeted


def test_targeted_and_untargeted_runs_of_a_model_go_together(tmp_path):
  grids = made(untargeted(tmp_path / "u"), targeted(tmp_path / "t"))
  assert {"p1_table_2", "p1_table_3a", "p1_table_4_cw", "p1_targeted"} <= set(grids)
  rows = cells(grids["p1_targeted"])
  assert rows["cw (targeted)", "vgg13", "ours"]["Clips"] == 5
  assert all(key[2] != "P1" for key in rows)


def test_per_class_is_pooled(tmp_path):
  vgg13 = [make_row(0, "df", snr_db=10.0), make_row(1, "df", snr_db=30.0)]
  vgg13 += [make_row(2, "df", **LOST), make_row(3, "df", label="Oboe", **LOST)]
  write_run(tmp_path / "vgg13", "vgg13", vgg13)
  write_run(tmp_path / "crnn", "crnn", [make_row(0, "df", snr_db=80.0)])
  found = cells(made(tmp_path)["p1_per_class"])
  assert list(found) == [("df", "Cello"), ("df", "Oboe")]
  cello = found["df", "Cello"]
  assert (cello["Attacked"], cello["SNR median dB"]) == (4, 30)
  assert cello["Success %"] == pytest.approx(3 / 4)
  assert found["df", "Oboe"]["SNR median dB"] is None


def test_table_1_counts_verified_clips_in_training(tmp_path):
  def said(model, split, n, verified, right):
    return Prediction(
      model, split, n, f"{n}.wav", "Oboe", verified, "Oboe" if right else "Cello", 0.5
    )

  train = [(True, True), (True, False), (True, True), (False, False), (False, True)]
  rows = [said("gcnn", "train", n, *pair) for n, pair in enumerate(train)]
  rows += [said("gcnn", "test", n, True, n < 1) for n in range(4)]
  rows += [said("mine", "test", 0, True, True)]
  write_predictions(tmp_path / "predictions.csv", rows)
  grid = made(tmp_path)["p1_table_1"]
  found = cells(grid)
  ours = found["gcnn", "ours"]
  assert (ours["Train clips"], ours["Test clips"]) == (3, 4)
  assert ours["Train %"] == pytest.approx(2 / 3)
  assert ours["Test %"] == pytest.approx(1 / 4)
  assert found["gcnn", "P1"]["Test %"] == 0.8437
  assert found["mine", "ours"]["Train %"] is None and ("mine", "P1") not in found


def heard(n: int, model: str, source: str, **changed) -> dict:
  """What `model` says of an example of `source` that it is not fooled by."""
  row = {"id": n, "attack": "df", "method": "deepfool", "source": source}
  row |= {"source_config_hash": "c", "model": model, "file": f"{n}.wav"}
  row |= {"label": "Cello", "target": None, "snr_db": 40.0, "source_success": True}
  row |= {"source_clean_correct": True, "source_new_label": "Oboe"}
  row |= {"clean_label": "Cello", "new_label": "Cello", "gt_conf": 0.9}
  row |= {"new_conf": 0.8, "gt_new_conf": 0.8, "config_hash": "t", "versions": ""}
  return row | {"device": "cpu"} | changed


def test_table_5_counts_all_clips_and_its_strict_form_successes(tmp_path):
  rows = [
    heard(0, "crnn", "vgg13", new_label="Oboe"),
    heard(1, "crnn", "vgg13"),
    # failed at the source, and yet the label changes
    heard(2, "crnn", "vgg13", source_success=False, new_label="Bass_drum"),
    # wrong before: another wrong label is a change, the same is none
    heard(3, "crnn", "vgg13", clean_label="Oboe", new_label="Bass_drum"),
    heard(4, "crnn", "vgg13", clean_label="Oboe", new_label="Oboe"),
    # the source had it wrong, so its success is none
    heard(5, "crnn", "vgg13", source_clean_correct=False),
    heard(0, "vgg13", "vgg13", new_label="Oboe"),
    heard(0, "crnn", "vgg13", attack="cw", method="carlini_wagner"),
    # neither of P1's two attacks: not pooled
    heard(0, "crnn", "vgg13", attack="pgd", method="pgd", new_label="Oboe"),
  ]
  results.append(tmp_path, rows, "transfer")
  grids = transfer_tables(gather([tmp_path]).transfers)
  found = cells(grids["p1_table_5"])
  assert next(iter(found)) == ("vgg13", "ours")
  assert found["crnn", "ours"]["vgg13"] == pytest.approx(3 / 7)
  assert found["crnn", "clips"]["vgg13"] == "7"
  assert found["crnn", "P1"]["vgg13"] == 0.0589  # CRNN listens to what was VGG13's
  assert found["vgg13", "ours"]["vgg13"] == 1
  assert "1 of 1 on the diagonal" in grids["p1_table_5"].caption
  strict = cells(grids["p1_table_5_strict"])
  assert strict["crnn", "ours"]["vgg13"] == pytest.approx(1 / 3)
  assert strict["crnn", "clips"]["vgg13"] == "3"
  assert cells(grids["p1_table_5_df"])["crnn", "ours"]["vgg13"] == pytest.approx(3 / 6)
  assert cells(grids["p1_table_5_pgd"])["crnn", "ours"]["vgg13"] == 1
  assert ("crnn", "P1") not in cells(grids["p1_table_5_df"])


def test_a_target_may_transfer_or_not(tmp_path):
  rows = [
    heard(0, "crnn", "vgg13", target="Oboe", new_label="Oboe"),
    heard(1, "crnn", "vgg13", target="Oboe", new_label="Bass_drum"),
    heard(2, "crnn", "vgg13", target="Oboe"),
    heard(3, "crnn", "vgg13", target="Oboe", new_label="Oboe", source_success=False),
  ]
  grids = transfer_tables(rows)
  stem = "p1_table_5_df_targeted"
  assert set(grids) == {stem, f"{stem}_strict", f"{stem}_reached"}
  values = [
    cells(grids[f"{stem}{end}"])["crnn", "ours"]["vgg13"]
    for end in ("", "_strict", "_reached")
  ]
  assert values == pytest.approx([3 / 4, 2 / 3, 1 / 3])


def test_a_part_without_the_new_column_can_be_read(tmp_path):
  row = make_row(0, "cw", target="Oboe", snr_db=50.0, snr_of_mean_db=99.0)
  write_run(tmp_path, "vgg13", [row])
  (part,) = results.parts(tmp_path)
  pq.write_table(pq.read_table(part).drop_columns(["snr_of_mean_db"]), part)
  (read,) = results.read(tmp_path)
  assert set(read) == set(results.FIELDS) and read["snr_of_mean_db"] is None
  found = cells(made(tmp_path)["p1_table_4_cw"])
  assert found["Cello", "ours"]["Oboe"] == 50
  assert found["Cello", "of the mean"]["Oboe"] is None


def test_the_files_hold_the_interval_in_columns_and_in_brackets(tmp_path):
  grids = made(untargeted(tmp_path / "runs"))
  write_grids(tmp_path / "out", grids)
  with (tmp_path / "out/p1_table_2.csv").open(newline="") as file:
    ours, _, paper = csv.DictReader(file)
  assert float(ours["Success %"]) == pytest.approx(100 * 7 / 12, rel=1e-5)
  low, high = float(ours["Success %_low"]), float(ours["Success %_high"])
  assert 0 <= low < 58 < high <= 100
  assert (paper["SNR mean dB"], paper["SNR mean dB_low"]) == ("41.81", "")
  shown = to_table(grids["p1_table_2"]).rows
  assert shown[0][4] == f"58.33 [{low:.1f}, {high:.1f}]"
  assert shown[2][4:] == ("99.99", "0.3502", "0.2476", "41.81", "-")
  for suffix, said in (("md", "58.33 \\["), ("tex", "58.33 [")):
    assert said in (tmp_path / f"out/p1_table_2.{suffix}").read_text()


def test_what_averaged_runs_have_not_in_common_is_told(tmp_path):
  row = make_row(0, "df")
  write_run(tmp_path / "a", "a", [row])
  write_run(tmp_path / "b", "b", [row], attacks={"df": {"method": "deepfool", "x": 1}})
  write_run(tmp_path / "c", "c", [row], data={"root": "there", "split": "train"})
  caption = made(tmp_path)["p1_table_2"].caption
  assert "Not alike: df in b and a; the clips in c and a" in caption


def test_rows_that_do_not_belong_together_are_refused(tmp_path):
  row = make_row(0, "df")
  one = write_run(tmp_path / "one", "vgg13", [row])
  two = write_run(tmp_path / "two", "vgg13", [row])
  with pytest.raises(InputError, match=r"df on vgg13 .*one .*two .*different configs"):
    gather([one, two])
  assert len(gather([one, one, tmp_path / "two/../one"]).runs) == 1
  results.append(one, [row | {"model": "vgg13", "config_hash": "another"}])
  with pytest.raises(InputError, match="come from different configs"):
    gather([one])


def test_other_classes_are_refused(tmp_path):
  one = write_run(tmp_path / "one", "vgg13", [make_row(0, "df")])
  two = write_run(tmp_path / "two", "crnn", [make_row(0, "df")])
  (two / "run.json").write_text(json.dumps({"classes": [*CLASSES, "Tuba"]}))
  with pytest.raises(InputError, match="'Tuba' is in one of them only"):
    gather([one, two])


def test_folders_of_no_use_are_refused(tmp_path):
  with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
    gather([tmp_path / "nowhere"])
  (tmp_path / "empty/rows").mkdir(parents=True)
  with pytest.raises(InputError, match="empty holds no rows"):
    gather([tmp_path / "empty"])
  too_deep = write_run(tmp_path / "a/b/c", "vgg13", [make_row(0, "df")])
  assert len(gather([tmp_path / "a"]).runs) == len(gather([too_deep]).runs) == 1
  with pytest.raises(InputError, match="holds no rows"):
    gather([tmp_path])
  (too_deep / "rows/part-000002.parquet").write_bytes(b"not parquet")
  with pytest.raises(InputError, match="damaged"):
    gather([too_deep])
  results.append(tmp_path / "t", [heard(0, "a", "b")], "transfer")
  results.append(tmp_path / "u", [heard(0, "a", "b")], "transfer")
  with pytest.raises(InputError, match="transfer rows of df on a are in"):
    gather([tmp_path / "t", tmp_path / "u"])


def test_the_papers_numbers_agree_with_each_other():
  # every entry of Table 5 is a count of 492 examples, rounded to 0.01%
  for listener, line in papers.P1_TABLE_5.items():
    assert set(line) == set(papers.MODELS) - {listener}
    for share in line.values():
      assert abs(round(share * 492) / 492 - share) <= 0.6e-4
  # L-BFGS: Table 4's mean is what the authors' next paper says, 56.25 dB
  table = papers.P1_TABLE_4["lbfgs"]
  values = [snr for line in table.values() for snr in line.values()]
  assert len(values) == 30 and np.mean(values) == pytest.approx(56.25, abs=0.1)
  # Carlini-Wagner: Table 2's success is the mean of Table 3's
  rates = [line[0] for line in papers.P1_TABLE_3[papers.CARLINI_WAGNER].values()]
  assert np.mean(rates) == pytest.approx(0.9951, abs=1e-4)


@pytest.mark.parametrize(
  "folder, model",
  [
    *(("bundled_vgg13", "VGG13"), ("GCNN-2", "GCNN"), ("densenet_mel", "dense_mel")),
    *(("dense-wav", "dense_wav"), ("yamnet", None), ("vgg13_and_crnn", None)),
  ],
)
def test_a_folders_name_tells_its_model(folder, model):
  assert papers.model_of(folder) == model
