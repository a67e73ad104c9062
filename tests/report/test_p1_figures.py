"""P1's figures: the numbers behind them by hand, what is written, and that all texts of
a figure can be read at its printed size.

Over 300 lines: the hand-made runs and the check of drawn texts serve all its tests.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text
from run_by_hand import RATE_HZ, make_row

from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.report import p1_draw, p1_spectrum
from jaxadv.report.folder import Run, read_run
from jaxadv.report.p1_figures import (
  choose_clip,
  matrix_of,
  minimum_norm,
  new_label_counts,
  survival,
  write_figures,
)
from jaxadv.report.p1_matrices import success_matrix
from jaxadv.report.p1_rows import attacks_of
from jaxadv.report.p1_spectrum import (
  ACTIVE,
  OUTSIDE,
  band_energies,
  centres_hz,
  levels_db,
  spectrum_table,
)

CLASSES = ["Cello", "Glockenspiel", "Oboe"]
CONFIG = {
  "attacks": {
    "df": {"method": "deepfool"},
    "cw": {"method": "carlini_wagner"},
    "pgd_0.5": {"method": "pgd", "radius": 20.0},
  }
}
LOST = {"success": False, "new_label": "Cello"}
WRONG = {"clean_correct": False, "clean_label": "Oboe"}


def make_run(rows: list[dict], model: str = "m", folder: str = "nowhere") -> Run:
  rows = [row | {"model": model} for row in rows]
  return Run(Path(folder), rows, CONFIG, {"classes": CLASSES}, [], {})


def sine(hz: float, seconds: float = 1.0) -> np.ndarray:
  return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def store(folder: Path, row: dict, clean: np.ndarray, delta: np.ndarray) -> dict:
  """The row, with its WAVs in the folder."""
  (folder / "wav").mkdir(parents=True, exist_ok=True)
  paths = {
    "wav_clean": f"wav/clean-{row['file']}",
    "wav": f"wav/{row['attack']}-{row['file']}",
    "wav_pcm16": f"wav/{row['attack']}-16-{row['file']}",
  }
  for key, path in paths.items():
    samples = clean if key == "wav_clean" else clean + delta
    soundfile.write(folder / path, samples, RATE_HZ, subtype="FLOAT")
  return row | paths


def test_new_labels_are_of_successes_of_all_models():
  runs = [
    make_run([make_row(0, "df"), make_row(1, "df", new_label="Glockenspiel")]),
    make_run(
      [make_row(0, "df"), make_row(1, "df", **LOST), make_row(2, "df", **WRONG)]
    ),
  ]
  (attack,) = attacks_of(runs)
  assert new_label_counts(attack, CLASSES) == [0, 1, 2]


def test_survival_counts_attacked_clips_fooled_at_a_level_or_above():
  rows = [
    make_row(0, "df", snr_db=50.0),
    make_row(1, "df", snr_db=30.0),
    make_row(2, "df", snr_db=np.inf),
    make_row(3, "df", snr_db=None),
    make_row(4, "df", snr_db=99.0, **LOST),
    make_row(5, "df", snr_db=99.0, **WRONG),
  ]
  found = survival(rows, [10, 30, 30.1, 50, 60])
  assert [one.value for one in found] == pytest.approx([0.6, 0.6, 0.4, 0.4, 0.2])
  for one in found:
    assert 0 <= one.low < one.value < one.high <= 1
  assert survival([make_row(0, "df", **WRONG)], [10]) == [None]


def test_attacks_with_a_radius_have_no_curve():
  run = make_run([make_row(0, "pgd_0.5"), make_row(0, "df"), make_row(0, "cw")])
  kept = minimum_norm(attacks_of([run]), [run])
  assert [attack.name for attack in kept] == ["df", "cw"]


def test_matrix_is_the_mean_over_models_of_the_attacked_clips():
  to_oboe = {"target": "Oboe"}
  one = [
    make_row(0, "cw", **to_oboe),
    make_row(1, "cw", **to_oboe, **LOST),
    make_row(2, "cw", **to_oboe, **WRONG),
    make_row(3, "cw", label="Oboe", target="Cello", **LOST),
  ]
  two = [make_row(0, "cw", **to_oboe)]
  (attack,) = attacks_of([make_run(one, "a"), make_run(two, "b")])
  assert matrix_of(success_matrix(attack, CLASSES)) == {
    ("Cello", "Oboe"): pytest.approx((1 / 2 + 1) / 2),
    ("Cello", "Cello"): None,
    ("Oboe", "Cello"): 0.0,
    ("Oboe", "Oboe"): None,
  }


def test_figure_3_prefers_a_glockenspiel_that_both_fooled(tmp_path):
  glockenspiel = {"label": "Glockenspiel", "clean_label": "Glockenspiel"}
  made = [
    store(tmp_path, make_row(n, attack, **changed), sine(500, 0.1), sine(900, 0.1) / 99)
    for n, changes in enumerate(
      [
        {"pgd_0.5": {}, "df": {}, "cw": LOST},
        {"df": {}, "cw": {}},
        {"df": glockenspiel, "cw": glockenspiel | LOST},
        {"df": glockenspiel, "cw": glockenspiel},
        {"df": LOST, "cw": LOST},
      ]
    )
    for attack, changed in changes.items()
  ]

  def chosen(*clips: int):
    rows = [row for row in made if row["id"] in clips]
    clip, run = choose_clip([make_run([], folder="x"), make_run(rows, folder=tmp_path)])
    assert run.workdir == tmp_path
    assert list(clip.rows) == ["df", "cw"]
    return clip.rows["df"]["id"]

  assert chosen(0, 1, 2, 3, 4) == 3
  assert chosen(0, 1, 2, 4) == 1
  assert chosen(0, 4) == 0
  assert choose_clip([make_run([row for row in made if row["id"] == 4])]) is None
  targeted = [row | {"target": "Oboe"} for row in made]
  assert choose_clip([make_run(targeted, folder=tmp_path)]) is None


# half a clip of 1 kHz, half of silence
HALF = np.concatenate([sine(1000), np.zeros(RATE_HZ)])


def test_energies_of_a_perturbation_40_db_below_a_clip_that_is_half_silent():
  found = band_energies(HALF, HALF + 0.01 * sine(4000, 2), RATE_HZ)
  assert found.share_outside == pytest.approx(0.5, abs=0.02)
  assert found.frames_outside == pytest.approx(0.5, abs=0.02)
  assert found.clip_hz == pytest.approx(1000, abs=10)
  assert found.perturbation_hz == pytest.approx(4000, abs=1)
  centres = centres_hz(RATE_HZ)
  for region in (ACTIVE, OUTSIDE):
    clip, perturbation = (levels[0] for levels in levels_db([found], region))
    assert abs(centres[perturbation.argmax()] - 4000) < 200
    # per frame the clip, half of it silent, is 3 dB below its sine
    total_db = 10 * np.log10(np.sum(10 ** (perturbation / 10)))
    assert total_db == pytest.approx(-40 + 10 * np.log10(2), abs=0.1)
    if region == ACTIVE:
      assert abs(centres[clip.argmax()] - 1000) < 60
      total_db = 10 * np.log10(np.sum(10 ** (clip / 10)))
      assert total_db == pytest.approx(10 * np.log10(2), abs=0.1)
    else:
      assert clip.max() < -30  # the window's reach into the first silent frame


def test_a_perturbation_of_the_silence_is_all_outside():
  delta = np.concatenate([np.zeros(RATE_HZ + 1024), sine(300)[1024:]])
  assert band_energies(HALF, HALF + delta, RATE_HZ).share_outside == pytest.approx(1)
  # as many active frames, all in front
  before = np.concatenate([sine(300)[1024:], np.zeros(RATE_HZ + 1024)])
  assert band_energies(HALF, HALF + before, RATE_HZ).share_outside == 0.0


@pytest.mark.parametrize(("below_db", "share"), [(39, 0.0), (41, 0.5)])
def test_frames_within_40_db_of_the_loudest_are_active(below_db, share):
  quiet = 10 ** (-below_db / 20) * sine(1000)
  clip = np.concatenate([sine(1000), quiet])
  found = band_energies(clip, clip + 1e-3, RATE_HZ)
  assert found.frames_outside == pytest.approx(share, abs=0.02)


def test_a_clip_without_pauses_has_no_levels_outside():
  found = band_energies(sine(1000), sine(1010), RATE_HZ)
  assert [levels.shape for levels in levels_db([found], OUTSIDE)] == [(0, 64)] * 2
  assert [levels.shape for levels in levels_db([found], ACTIVE)] == [(1, 64)] * 2


def test_no_energies_without_a_sound_or_a_perturbation():
  assert band_energies(HALF, HALF, RATE_HZ) is None
  assert band_energies(0 * HALF, HALF, RATE_HZ) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
  """A run's folder of three attacks, one of them also with targets."""
  folder = tmp_path_factory.mktemp("runs") / "one"
  everywhere, silence = sine(4000, 2), np.concatenate([np.zeros(RATE_HZ), sine(2000)])
  rows = [
    store(folder, make_row(0, "df"), HALF, 0.01 * everywhere),
    store(folder, make_row(1, "df", new_label="Glockenspiel"), HALF, 0.01 * silence),
    store(folder, make_row(2, "df", **LOST), HALF, everywhere),
    store(folder, make_row(3, "df", **WRONG), HALF, everywhere),
    store(folder, make_row(4, "df", snr_db=np.inf), HALF, 0 * HALF),
    make_row(5, "df", wav="wav/gone.wav", wav_clean="wav/gone-too.wav"),
    store(folder, make_row(0, "cw", snr_db=60.0), HALF, 1e-4 * everywhere),
    make_row(1, "pgd_0.5", **LOST),
    make_row(6, "cw", target="Oboe", snr_db=45.0),
    make_row(7, "cw", target="Glockenspiel", **LOST),
  ]
  results.append(folder, rows)
  (folder / "run.json").write_text(json.dumps({"classes": CLASSES}))
  (folder / "config.json").write_text(json.dumps(CONFIG))
  return folder


def test_spectrum_table_is_of_successes_with_sounds(folder):
  grid = spectrum_table([read_run(folder)])
  found = {row[0]: row[1:] for row in grid.rows}
  model, clips, pauses, outside, frames, hz, clip_hz = found["df"]
  assert (model, clips, pauses) == ("vgg13", 2, 2)
  assert outside.value == pytest.approx((0.5 + 1) / 2, abs=0.02)
  assert frames.value == pytest.approx(0.5, abs=0.02)
  assert hz.value == pytest.approx((4000 + 2000) / 2, abs=20)
  assert clip_hz.value == pytest.approx(1000, abs=10)
  assert found["pgd_0.5"][1:] == (0, 0, None, None, None, None)


def test_every_figure_is_written_and_fits_a_page(folder, tmp_path):
  written = write_figures([read_run(folder)], tmp_path)
  attacks = ("df", "cw", "cw_targeted", "pgd_0_5")
  stems = {"p1_figure_1", "p1_figure_2", "p1_figure_3", "p1_survival"}
  stems |= {f"p1_per_class_{attack}" for attack in attacks}
  stems |= {"p1_spectrum_df", "p1_spectrum_cw"}
  assert sorted(written) == sorted(tmp_path.iterdir())
  assert {path.stem for path in written} == stems | {"p1_figures"}
  said = (tmp_path / "p1_figures.md").read_text()
  for stem in stems:
    picture = imread(tmp_path / f"{stem}.png")
    assert picture.shape[1] <= 7.2 * 150
    assert np.ptp(picture[..., :3]) == 1
    assert (tmp_path / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    assert f"![]({stem}.png)" in said


def test_what_has_no_rows_has_no_figure(folder, tmp_path):
  run = read_run(folder)
  kept = [row for row in run.rows if row["attack"] == "pgd_0.5"]
  written = write_figures([run._replace(rows=kept)], tmp_path)
  stems = {"p1_figures", "p1_figure_1", "p1_per_class_pgd_0_5"}
  assert {path.stem for path in written} == stems
  unattacked = [row | WRONG for row in run.rows if row["target"]]
  written = write_figures([run._replace(rows=unattacked)], tmp_path / "two")
  assert {path.stem for path in written} == {"p1_figures", "p1_figure_2"}


def test_a_damaged_wav_is_named(folder, tmp_path):
  row = store(tmp_path, make_row(0, "df"), HALF, HALF)
  (tmp_path / row["wav"]).write_bytes(b"RIFF")
  with pytest.raises(InputError, match=r"df-clip 0#\.wav cannot be read"):
    spectrum_table([make_run([row], folder=tmp_path)])


LONG = [f"Drawer_open_or_close_{n:02d}" for n in range(41)]
ATTACKS = [
  *("white_noise", "fgsm", "deepfool", "carlini_wagner"),
  *("deepfool_canonical", "carlini_wagner_canonical"),
]


def full(names, value):
  return {(a, b): value for a in names for b in names if a != b}


def shares(models: int, panels: int):
  curve = np.tile([[0.5, 0.4, 0.6]], (5, 1))
  names = [f"bundled_dense_mel_{n}" for n in range(models)]
  return {attack: dict.fromkeys(names, curve) for attack in ATTACKS[-panels:]}


def matrices(names, attacks: int):
  pair = full(names, 1.0), full(names, 104.0)
  return dict.fromkeys(ATTACKS[-attacks:], pair), names, names


DB = np.arange(5) + 40.0
BARS = {"success (%)": [(100.0, 90.0, 100.0)] * 41, "SNR (dB)": [(np.nan,) * 3] * 41}
DRAWN = {
  "counts of 41": ("draw_counts", (dict.fromkeys(ATTACKS, [999] * 41), LONG)),
  "counts of 14": ("draw_counts", (dict.fromkeys(ATTACKS[:2], [0] * 14), LONG[:14])),
  "matrices of 6": ("draw_matrices", matrices(LONG[:6], 2)),
  "matrices of 14": ("draw_matrices", matrices(LONG[:14], 1)),
  "matrices of 41": ("draw_matrices", matrices(LONG, 1)),
  "one curve": ("draw_survival", (DB, shares(1, 1))),
  "30 curves": ("draw_survival", (DB, shares(5, 6))),
  "bars of 41": ("draw_bars", (ATTACKS[-1], LONG, BARS)),
  "one bar": (
    "draw_bars",
    (ATTACKS[-1], LONG[:1], {k: v[:1] for k, v in BARS.items()}),
  ),
}


@pytest.fixture
def drawn(monkeypatch):
  """What is drawn in place of being saved: figures, and texts as a dict's keys."""
  figures, texts = [], {}
  draw = Text.draw

  def note(text, *arguments, **named):
    texts[text] = None
    draw(text, *arguments, **named)

  monkeypatch.setattr(Text, "draw", note)
  for module in (p1_draw, p1_spectrum):
    monkeypatch.setattr(module, "save", lambda figure, path: figures.append(figure))
  return figures, texts


def check_texts(figures, texts):
  (figure,) = figures
  FigureCanvasAgg(figure).draw()
  assert figure.get_figwidth() <= p1_draw.PAGE_INCHES
  texts = [text for text in texts if text.get_visible() and text.get_text().strip()]
  assert len(texts) > 5
  assert min(text.get_fontsize() for text in texts) >= 7
  boxes = np.array([text.get_window_extent().padded(-0.5).extents for text in texts])
  low, high = boxes[:, :2], boxes[:, 2:]
  outside = (low < 0).any(1) | (high > figure.bbox.max).any(1)
  assert not [texts[n].get_text() for n in np.flatnonzero(outside)]
  meeting = (low[:, None] < high).all(2) & (low < high[:, None]).all(2)
  pairs = np.argwhere(np.triu(meeting, 1))
  assert not [(texts[n].get_text(), texts[m].get_text()) for n, m in pairs]


@pytest.mark.parametrize("case", DRAWN)
def test_texts_are_large_enough_apart_and_inside(case, drawn):
  function, arguments = DRAWN[case]
  getattr(p1_draw, function)(Path("unused"), *arguments)
  check_texts(*drawn)


def test_so_are_those_of_a_spectrum(folder, drawn):
  (run,) = p1_spectrum.with_paths([read_run(folder)])
  attack = attacks_of([run])[0]._replace(name=f"{ATTACKS[-1]} (targeted)")
  assert p1_spectrum.draw_spectrum(Path("unused"), attack)
  check_texts(*drawn)
