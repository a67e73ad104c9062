"""P0's tables of rows made by hand, against shares counted by hand.

Over 300 lines: the hand-made rows serve all of its tests.
"""

import itertools

import pytest

from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.report import p0, p0_figures
from jaxadv.report.gather import gather
from jaxadv.report.grid import to_numbers, to_table

IDS = itertools.count()


def row(after, *, attack="deepfool", model="vgg13", transform="noise_20", **changes):
  """An adversarial of "cat" that is taken for "dog"; after the transform: `after`."""
  return {
    "id": next(IDS),
    "attack": attack,
    "method": attack,
    "model": model,
    "file": f"{next(IDS)}.wav",
    "label": "cat",
    "target": None,
    "snr_db": 40.0,
    "new_label": "dog",
    "new_conf": 0.5,
    "through": None,
    "transform": transform,
    "transformed_label": after,
    "config_hash": "a",
  } | changes


def cells(grid) -> list[tuple[str, ...]]:
  return to_table(grid).rows


def values(grid, line: int) -> dict[str, str]:
  table = to_numbers(grid)
  return dict(zip(table.columns, table.rows[line], strict=True))


def test_three_way_split():
  rows = [row("dog"), row("cat"), row("cat"), row("cat"), row("cow")]
  found = p0.split([rows])
  shares = [part.value for part in found if part]
  assert shares == pytest.approx([1 / 5, 3 / 5, 1 / 5])


def test_an_attack_that_had_failed_is_no_adversarial():
  """A run of all examples has them: one that kept its label would be Adv and GT."""
  failed = row("cat", new_label="cat")
  missed = row("cow", target="dog", new_label="cow")
  made = p0.tables([row("dog"), row("cat"), failed, missed])
  line = values(made["p0_table_3"], 0)
  assert line["Clips"] == "2"
  assert [float(line[name]) for name in ("Adv %", "GT %", "Diff %")] == [50, 50, 0]
  assert len(made["p0_all"].rows) == 1


def test_models_and_attacks_count_alike_whatever_their_size():
  # 1 of 1 and 0 of 3: the mean is a half, pooled it would be a quarter
  rows = [row("cat"), *(row("dog", model="crnn") for _ in range(3))]
  grid = p0.tables(rows)["p0_table_3"]
  line = values(grid, 0)
  assert line["Transform"] == "noise_20" and line["Clips"] == "4"
  assert float(line["GT %"]) == 50 and float(line["Adv %"]) == 50
  attacks = [row("cat"), *(row("dog", attack="lbfgs", target="dog") for _ in range(3))]
  assert float(values(p0.tables(attacks)["p0_table_3"], 0)["GT %"]) == 50


def test_the_papers_numbers_stand_below_ours():
  lines = cells(p0.tables([row("cat"), row("cat", transform="mine")])["p0_table_3"])
  assert [line[:2] for line in lines] == [
    ("noise_20", "ours"),
    ("noise_20", "P0"),
    ("mine", "ours"),
  ]
  # SPEC G2, Table 3
  assert lines[1][3:] == ("3.40", "73.72", "22.87")


def test_clean_clips_are_a_table_of_their_own():
  clean = [
    row(after, attack="clean", new_label="cat", snr_db=None)
    for after in ("cat", "cat", "cat", "dog")
  ]
  made = p0.tables([*clean, row("dog")])
  line = values(made["p0_table_2"], 0)
  assert (float(line["GT %"]), float(line["Diff %"])) == (75, 25)
  assert values(made["p0_table_3"], 0)["Clips"] == "1"


def test_the_best_defences_come_first():
  right = {"mp3_48": 1, "reverb": 3, "noise_20": 2, "noise_40": 0}
  rows = [
    row("cat" if n < count else "dog", transform=transform, id=n, file=f"{n}.wav")
    for transform, count in right.items()
    for n in range(4)
  ]
  made = p0.tables(rows)
  of_model = [line for line in cells(made["p0_table_4"]) if line[1] == "ours"]
  assert [line[2] for line in of_model] == ["reverb", "noise_20"]
  of_attack = [line for line in cells(made["p0_table_5"]) if line[1] == "ours"]
  assert [line[4] for line in of_attack] == ["reverb", "noise_20", "mp3_48"]
  assert values(made["p0_table_4"], 0)["GT %"] == "75"


def test_the_header_of_table_5_counts_each_adversarial_once():
  # the first went through two transforms
  rows = [
    row("cat", id=1, snr_db=30.0, new_conf=0.2),
    row("cat", id=1, snr_db=30.0, new_conf=0.2, transform="reverb"),
    row("cat", id=2, snr_db=60.0, new_conf=0.8),
  ]
  # ids begin anew in each split
  rows[0]["file"] = rows[1]["file"] = "a.wav"
  rows[2] |= {"id": 1, "file": "b.wav"}
  line = values(p0.tables(rows)["p0_table_5"], 0)
  assert float(line["SNR mean dB"]) == 45 and float(line["New"]) == pytest.approx(0.5)


def test_adaptive_attacks_stand_beside_plain_ones(tmp_path):
  def after(label, n, **changes):
    return row(label, file=f"{n}.wav", id=n, **changes)

  clean = [
    after("cat" if n else "cow", n, attack="clean", new_label="cat", snr_db=None)
    for n in range(5)
  ]
  # the clip 0 is lost to the transform itself: it counts for nobody
  plain = [after("dog" if n < 2 else "cat", n, attack="pgd_40") for n in range(5)]
  known = {"attack": "noise_20_40", "through": "noise_20", "snr_db": 38.0}
  adaptive = [after("cow" if n < 4 else "cat", n, **known) for n in range(5)]
  other = [after("dog", n, **(known | {"through": "reverb"})) for n in range(5)]
  rows = [*clean, *plain, *adaptive, *other]
  grid = p0.tables(rows)["p0_adaptive"]
  lines = [values(grid, n) for n in range(len(grid.rows))]
  assert [line["Knowledge"] for line in lines] == ["plain", "adaptive"]
  assert [line["Clips"] for line in lines] == ["4", "4"]
  assert [float(line["Success %"]) for line in lines] == [25, 75]
  assert [float(line["SNR mean dB"]) for line in lines] == [40, 38]
  (png, _) = p0_figures.write_figures(rows, tmp_path)
  assert png.name == "p0_adaptive.png" and png.stat().st_size > 1000


def test_what_has_nothing_to_draw_has_no_figure(tmp_path):
  lost = row("cow", attack="clean", file="a.wav", new_label="cat", snr_db=None)
  for through in ("reverb", "noise_20", "noise_20 + reverb"):
    rows = [lost, row("dog", file="a.wav", through=through)]
    assert p0.tables(rows) and not list(p0_figures.write_figures(rows, tmp_path))


def test_models_are_averaged_in_the_adaptive_and_robust_tables():
  """1 of 1 and 0 of 3: a half, where pooled it would be a quarter."""

  def both(**known):
    some = []
    for model, count, after in (("vgg13", 1, "dog"), ("crnn", 3, "cat")):
      for n in range(count):
        own = {"model": model, "file": f"{n}.wav", "id": n}
        some.append(row("cat", attack="clean", new_label="cat", snr_db=None, **own))
        some += [row(after, **own, **known), row(after, attack="plain", **own)]
    return some

  lone = p0.tables(both(through="noise_20"))["p0_adaptive"]
  several = p0.tables(both(through="noise_20 + reverb"))["p0_robust"]
  assert [float(values(lone, n)["Success %"]) for n in (0, 1)] == [50, 50]
  assert float(values(several, 0)["plain, 40 dB"]) == 50


def test_adaptive_lines_go_by_method_and_level():
  clean = row("cat", attack="clean", file="a.wav", new_label="cat", snr_db=None)
  some = []
  for method, levels in (("cw", (71.0,)), ("pgd", (40.3, 59.8))):
    for snr_db in levels:
      plain = {"file": "a.wav", "attack": f"{method}_{snr_db:.0f}", "method": method}
      known = {"attack": f"n_{plain['attack']}", "through": "noise_20"}
      some += [
        row("cat", **plain, snr_db=snr_db),
        # quieter than plain, by less than the levels are apart
        row("dog", **(plain | known), snr_db=snr_db + 0.1),
      ]
  # attacks that go through another transform, and after another
  some += [row("dog", file="a.wav", through="reverb", transform="mp3_48")]
  grid = p0.tables([clean, *some[::-1]])["p0_adaptive"]
  lines = [values(grid, n) for n in range(len(grid.rows))]
  assert [line["Attack"] for line in lines] == [
    *("pgd_60", "n_pgd_60", "pgd_40", "n_pgd_40", "cw_71", "n_cw_71"),
  ]
  assert [float(line["Success %"]) for line in lines] == [0, 100] * 3


def robust_rows() -> list[dict]:
  """3 clips; "both" is lost to the held-out transform itself where it is clean."""
  through = "noise_20 + reverb"
  said = {  # (attack, transform) -> what the model says of the clips a, b, c
    ("clean", "noise_20"): "cat cat cat",
    ("clean", "reverb"): "cat cat cow",
    ("clean", "mp3_48"): "cat cow cat",
    ("plain", "noise_20"): "dog cat cat",
    ("plain", "reverb"): "cat cat cow",
    ("plain", "mp3_48"): "dog cow cat",
    ("robust", "noise_20"): "dog dog dog",
    ("robust", "reverb"): "dog cat cow",
    ("robust", "mp3_48"): "cat dog dog",
  }
  return [
    row(
      label,
      attack=attack,
      transform=transform,
      file=file,
      new_label="cat" if attack == "clean" else "dog",
      snr_db=None if attack == "clean" else 40.2 if attack == "plain" else 39.9,
      through=through if attack == "robust" else None,
      config_hash="r",
    )
    for (attack, transform), labels in said.items()
    for file, label in zip("abc", labels.split(), strict=True)
  ]


def test_one_perturbation_is_judged_after_seen_and_held_out_transforms(tmp_path):
  made = p0.tables(robust_rows())
  assert set(made) == {"p0_robust"}
  grid = made["p0_robust"]
  plain, robust = (column.name for column in grid.columns[3:])
  assert (plain, robust) == ("plain, 40 dB", "robust, 40 dB")
  lines = {}
  for n in range(len(grid.rows)):
    line = values(grid, n)
    lines[line["Transform"]] = (
      line["Made for it"],
      int(line["Clips"]),
      *(round(float(line[column])) for column in (plain, robust)),
    )
  assert list(lines) == ["noise_20", "reverb", "mp3_48", "every one seen"]
  assert lines["noise_20"] == ("seen", 3, 33, 100)
  assert lines["reverb"] == ("seen", 2, 0, 50)  # c is lost to the reverberation
  assert lines["mp3_48"] == ("held out", 2, 50, 50)
  # a after both; b not after the reverberation; c, which that loses, does not count
  assert lines["every one seen"] == ("", 2, 0, 50)
  written = p0_figures.write_figures(robust_rows(), tmp_path)
  assert [path.name for path in written] == ["p0_robust.png", "p0_robust.pdf"]
  assert written[0].stat().st_size > 1000


def test_runs_of_every_kind_have_their_own_tables():
  known = {"config_hash": "b", "file": "a.wav"}
  adaptive = [
    row("cat", attack="clean", new_label="cat", snr_db=None, **known),
    row("dog", attack="mine", through="noise_20", **known),
    row("cat", attack="theirs", **known),
  ]
  paper = [row("dog"), row("cat", attack="clean", new_label="cat", snr_db=None)]
  made = p0.tables([*paper, *adaptive, *robust_rows()])
  assert {"p0_table_2", "p0_table_3", "p0_adaptive", "p0_robust"} < set(made)
  # nothing of one kind is counted in another
  assert values(made["p0_table_2"], 0)["Clips"] == "1"
  assert values(made["p0_table_3"], 0)["Clips"] == "1"
  assert {line[3] for line in cells(made["p0_adaptive"])} == {"theirs", "mine"}
  # the same clean clips in a second run count once
  again = [one | {"config_hash": "c"} for one in paper]
  assert values(p0.tables([*paper, *again])["p0_table_2"], 0)["Clips"] == "1"


def test_runs_of_transforms_may_share_clean_clips_and_nothing_else(tmp_path):
  rest = {"source_config_hash": "s", "transformed_conf": 0.5, "gt_conf": 0.5}
  rest |= {"versions": "", "device": ""}
  clean = row("cat", attack="clean", new_label="cat", snr_db=None) | rest
  for name in ("one", "two"):
    results.append(tmp_path / name, [clean, row("dog", **rest)], "transformed")
  assert len(gather([tmp_path]).transformed) == 4
  # one id in two splits: two clips
  results.append(tmp_path / "two", [row("dog", id=6, **rest)], "transformed")
  results.append(tmp_path / "one", [row("dog", id=6, **rest)], "transformed")
  assert len(gather([tmp_path]).transformed) == 6
  same = row("dog", id=7, **rest)
  results.append(tmp_path / "two", [same], "transformed")
  results.append(tmp_path / "one", [same], "transformed")
  with pytest.raises(InputError, match="give one of the two folders"):
    gather([tmp_path])


def test_a_targeted_attack_must_reach_its_target_through_the_transform():
  clean = [row("cat", attack="clean", file="a.wav", new_label="cat", snr_db=None)]
  known = {"file": "a.wav", "target": "dog", "through": "noise_20"}
  rows = [*clean, row("cow", **known), row("dog", **known)]
  assert float(values(p0.tables(rows)["p0_adaptive"], 0)["Success %"]) == 50


def test_a_confusion_matrix_has_a_line_per_true_class():
  rows = [row("dog"), row("cat"), row("cat"), row("cow"), row("cat", label="dog")]
  shares = p0_figures.confusions(rows, ["cat", "dog"], ["cat", "cow", "dog"])
  assert shares.tolist() == [[50, 25, 25], [100, 0, 0]]


def test_figures_of_every_model(tmp_path):
  rows = [row("cat"), row("dog", model="crnn"), row("cow", transform="reverb")]
  written = p0_figures.write_figures(rows, tmp_path / "figures")
  names = {path.name for path in written if path.suffix == ".png"}
  assert names == {
    "p0_figure_1_vgg13.png",
    "p0_figure_1_crnn.png",
    "p0_defences.png",
  }
  assert all(path.stat().st_size > 1000 for path in written)
  assert p0_figures.write_figures([], tmp_path) == []
