"""What a report prints and draws, against hand computation."""

import csv
import io

import numpy as np
import pytest
from run_by_hand import ODD, RATE_HZ, make_row, make_rows

from jaxadv.report import figures, listening, spectrogram, tables
from jaxadv.report.summary import summarise


def test_summary_is_the_hand_computation():
  entries = summarise(make_rows())
  names = ["a", "a (targeted)", "noise", "b/é", "all wrong"]
  assert [entry["name"] for entry in entries] == names
  a = entries[0]
  counts = ("n", "n_clean_wrong", "n_attacked", "n_success", "n_finite_snr")
  assert [a[key] for key in counts] == [5, 1, 4, 3, 3]
  assert a["success_rate"] == 3 / 4
  assert a["success_rate_loop"] == 1.0  # of the 3 rows with a verdict
  assert a["success_rate_pcm16"] == 2 / 4
  assert (a["disagree_loop"], a["disagree_pcm16"]) == (1, 1)
  assert a["median_snr_db"] == 26.0
  assert a["mean_snr_db"] == pytest.approx((50 + 20 + 26) / 3)
  assert a["gt_conf"] == pytest.approx((0.75 + 0.25 + 0.75) / 3)
  assert (a["new_conf"], a["gt_new_conf"]) == (0.5, 0.25)
  assert a["mean_steps"] == (10 + 10 + 30 + 10) / 4
  assert a["mean_backward_passes"] == 20
  assert a["total_seconds"] == 10.0


def test_empty_groups_are_none():
  *_, noise, _, wrong = summarise(make_rows())
  assert noise["success_rate"] == 0.0
  assert noise["median_snr_db"] is noise["gt_conf"] is None
  assert wrong["n_attacked"] == 0
  for key in ("success_rate", "success_rate_loop", "mean_steps", "mean_snr_db"):
    assert wrong[key] is None
  assert summarise([]) == []


def test_nan_is_missing_not_a_number():
  rows = [make_row(0, "a", snr_db=np.nan, gt_conf=np.nan), make_row(1, "a")]
  (entry,) = summarise(rows)
  assert (entry["mean_snr_db"], entry["gt_conf"]) == (40.0, 0.75)


def test_tables_text():
  summary = summarise(make_rows())
  two = tables.to_text(tables.table_2(summary)).splitlines()
  assert two[2].split("  ")[0] == "Attack"
  assert two[4].split() == ["a", "75.00", "0.5000", "0.2500", "26.00", "32.00"]
  assert two[6].split() == ["noise", "0.00", "-", "-", "-", "-"]
  three = tables.table_3(summary).rows[0]
  numbers = ["75.00", "0.5833", "0.5000", "0.2500", "26.00", "32.00"]
  assert list(three) == ["a", "vgg13", *numbers]
  judged = tables.judgements(summary, 1)
  assert judged.rows[0] == ("a", "5", "1", "4", "100.00", "75.00", "50.00", "1", "1")
  assert "1 file was skipped" in judged.caption


def test_renderers_escape():
  table = tables.Table("T", ("Attack", "Success %"), [("a|b <&> $_", "1,5")], "50 %")
  assert r"| a\|b \<\&> $_ | 1,5 |" in tables.to_markdown(table)
  latex = tables.to_latex(table)
  assert r"a\textbar{}b \textless{}\&\textgreater{} \$\_ & 1,5 \\" in latex
  assert r"\begin{tabular}{lr}" in latex
  assert r"Success \%" in latex
  assert list(csv.reader(io.StringIO(tables.to_csv(table)))) == [
    ["Attack", "Success %"],
    ["a|b <&> $_", "1,5"],
  ]


def test_success_curve_is_the_share_at_or_above_each_snr():
  rows = [row for row in make_rows() if row["attack"] == "a" and row["target"] is None]
  levels, share = figures.success_curve(rows)
  # 4 attacked clips; the clean-wrong one at 30 dB is in neither number
  np.testing.assert_array_equal(levels, [50, 26, 20])
  np.testing.assert_allclose(share, [0.25, 0.5, 0.75])
  for snr_db in (55, 50, 40, 26, 20, 0):
    counted = sum(
      r["success"] and r["clean_correct"] and r["snr_db"] >= snr_db for r in rows
    )
    drawn = share[levels >= snr_db][-1] if (levels >= snr_db).any() else 0
    assert drawn == counted / 4
  twice = [make_row(0, "x"), make_row(1, "x")]
  np.testing.assert_array_equal(figures.success_curve(twice), [[40], [1]])
  tied = [make_row(n, "x", snr_db=snr) for n, snr in enumerate([40, 40, 10, 10, 10])]
  np.testing.assert_allclose(figures.success_curve(tied), [[40, 10], [0.4, 1]])
  assert figures.success_curve([])[0].size == 0


def test_new_labels_are_counted_over_successes():
  counts = figures.label_counts(make_rows())
  assert counts["a"] == {"Oboe": 2, ODD: 1}
  assert not counts["noise"]
  assert not counts["all wrong"]


def test_level_of_a_full_scale_sine_is_0_db():
  time_s = np.arange(3 * RATE_HZ) / RATE_HZ
  level = spectrogram.level_db(np.sin(2 * np.pi * 4000 * time_s), columns=100)
  assert level.shape == (513, 100)
  assert level[128, 50] == pytest.approx(0, abs=0.01)  # 4000 Hz * 1024 / 32000
  assert level[300, 50] < -80
  assert spectrogram.level_db(np.zeros(100)).max() == spectrogram.FLOOR_DB
  picture = spectrogram.thumbnail(level, 0.0, 80.0)
  assert picture.shape == (128, 100)
  assert picture[127 - 128 // 4, 50] == 255  # low frequencies at the bottom


def test_examples_spread_over_classes_and_prefer_the_most_fooled():
  def clip(number, label, **outcomes):
    rows = {a: make_row(number, a, success=won) for a, won in outcomes.items()}
    return listening.Clip(label, rows)

  both, one, none = {"x": True, "y": True}, {"x": True, "y": False}, {"x": False}
  clips = [
    clip(0, "Cello", **one),
    clip(1, "Cello", **both),
    clip(2, "Oboe", **none),
    clip(3, "Oboe", **one),
    clip(4, "Meow", **one),
    clip(5, "Bus", x=False, y=True),
  ]
  chosen = listening.choose(clips, 5)
  # x was shown twice by then, so Bus (y) goes before Meow (x); Cello comes again last
  assert [clips.index(c) for c in chosen] == [1, 3, 5, 4, 0]
  assert chosen == listening.choose(clips, 5)
  assert len(listening.choose(clips, 99)) == 6
