"""P0's tables of rows made by hand, against shares counted by hand."""

import itertools

import pytest

from jaxadv.report import p0, p0_figures
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
  assert [line["Number"] for line in lines] == ["plain", "adaptive"]
  assert [line["Clips"] for line in lines] == ["4", "4"]
  assert [float(line["Success %"]) for line in lines] == [25, 75]
  assert [float(line["SNR mean dB"]) for line in lines] == [40, 38]
  (png, _) = p0_figures.write_figures(rows, tmp_path)
  assert png.name == "p0_adaptive.png" and png.stat().st_size > 1000


def test_a_targeted_attack_must_reach_its_target_through_the_transform():
  clean = [row("cat", attack="clean", file="a.wav", new_label="cat", snr_db=None)]
  known = {"file": "a.wav", "target": "dog", "through": "noise_20"}
  rows = [*clean, row("cow", **known), row("dog", **known)]
  assert float(values(p0.tables(rows)["p0_adaptive"], 0)["Success %"]) == 50


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
