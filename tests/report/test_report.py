"""The report of a small run: every file that it writes, and what the page says."""

import ast
import html
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from run_by_hand import ODD, RATE_HZ, failed, make_row, make_rows, make_run

import jaxadv.report
from jaxadv import results
from jaxadv.errors import InputError
from jaxadv.report import listening, write_report
from jaxadv.report.folder import read_run


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
  folder = make_run(tmp_path_factory.mktemp("runs") / "run 1")
  return folder, write_report(folder)


class Links(HTMLParser):
  """All that a page refers to, its images and players, and what it says."""

  def __init__(self, text: str):
    super().__init__()
    self.urls: list[str] = []
    self.ids: set[str] = set()
    self.unlabelled: list[str] = []
    self.tags: list[str] = []
    self.said = ""
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    found = dict(attrs)
    self.tags.append(tag)
    self.urls += [found[key] or "" for key in ("href", "src", "srcset") if key in found]
    self.ids.add(found.get("id") or "")
    label = {"img": "alt", "audio": "aria-label"}.get(tag)
    if label and not found.get(label):
      self.unlabelled.append(str(found))

  def handle_data(self, data):
    self.said += data


def test_page_refers_to_files_that_exist_and_loads_nothing_else(reported):
  folder, _ = reported
  page = Links((folder / "index.html").read_text(encoding="utf-8"))
  assert len(page.urls) > 40
  for url in page.urls:
    parts = urlsplit(url)
    if parts.scheme:
      assert url == "data:,"  # the empty icon: stops the browser asking for one
    elif parts.path:
      assert (folder / unquote(parts.path)).is_file(), url
    else:
      assert parts.fragment in page.ids
  assert not page.unlabelled
  assert "script" not in page.tags
  assert "http" not in (folder / "index.html").read_text(encoding="utf-8")


def test_page_says_it_all(reported):
  folder, _ = reported
  text = (folder / "index.html").read_text(encoding="utf-8")
  page = Links(text)
  assert f"<h3>1. {html.escape(ODD)}</h3>" in text
  assert "<&>" not in text
  for said in ("is <empty>, 0 samples", "model.mels", "attack.py --x=<1>", "SNR ∞ dB"):
    assert said in page.said
  assert "loop: fooled, again: fooled, 16-bit: not fooled" in page.said
  assert page.said.count("judgements differ") == 2  # clips 1 and 3; null is no verdict
  assert "none: the clip is unchanged" in page.said
  assert "target Snare_drum" in page.said


def test_players_are_16_bit_and_the_difference_peaks_at_minus_3_db(reported):
  folder, _ = reported
  page = Links((folder / "index.html").read_text(encoding="utf-8"))
  sounds = [folder / unquote(url) for url in page.urls if url.endswith(".wav")]
  assert {soundfile.info(path).subtype for path in sounds} == {"PCM_16"}
  differences = [path for path in sounds if "difference" in path.name]
  assert differences
  for path in differences:
    samples, _ = soundfile.read(path)
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-3, abs=0.01)
  # a peak of 1e-2 is -40 dBFS
  assert "played 37 dB louder" in page.said
  assert listening.gain_db(np.array([0.1, -0.01])) == pytest.approx(17)
  assert listening.gain_db(np.zeros(3)) is None


@pytest.mark.parametrize("stem", ["spectrograms", "new_labels", "success_against_snr"])
def test_figures_are_not_blank(reported, stem):
  folder, _ = reported
  pixels = imread(folder / "figures" / f"{stem}.png")
  assert min(pixels.shape[:2]) > 300
  assert pixels[..., :3].std() > 0.05
  assert (folder / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")


def test_terminal_text_and_files(reported):
  folder, text = reported
  for said in (
    "Table 2",
    "Table 3",
    "Judgements",
    "bad.wav: is <empty>",
    "a (targeted)",
  ):
    assert said in text
  assert text.endswith(f"Page: {folder / 'index.html'}")
  written = (folder / "summary.md").read_text(encoding="utf-8")
  assert "## Table 2" in written
  assert "Skipped files: 1" in written
  for stem in ("table_2", "table_3", "judgements", "guards", "watch", "costs"):
    for suffix in ("md", "csv", "tex"):
      assert (folder / "tables" / f"{stem}.{suffix}").stat().st_size > 50


def test_again_without_sounds_and_from_inside(reported, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  results_only = tmp_path / "bare"
  results_only.mkdir()
  results.append(results_only, make_rows())
  assert write_report("bare").endswith(f"Page: {Path('bare/index.html')}")
  page = Links((results_only / "index.html").read_text(encoding="utf-8"))
  assert "nothing to" in page.said
  assert "audio" not in page.tags
  for url in page.urls:
    path = urlsplit(url).path
    assert url == "data:," or not path or (results_only / path).is_file()


def test_a_run_without_one_success_has_a_report(tmp_path):
  results.append(tmp_path, [make_row(0, "a", **failed(snr_db=np.inf))])
  assert "0.00" in write_report(tmp_path)


def test_a_killed_run_has_the_classes_that_it_aimed_at(tmp_path):
  results.append(tmp_path, [make_row(0, "a", target="Tuba", **failed())])
  assert read_run(tmp_path).classes == ["Cello", "Tuba"]
  rows = [{"file": "b.wav", "reason": "short"}]
  for name in ("skipped.csv", "skipped-1.csv"):
    (tmp_path / name).write_text("file,reason\nb.wav,short\n")
  assert read_run(tmp_path).skipped == rows


def test_rows_of_two_configs_are_told(tmp_path):
  results.append(tmp_path, [make_row(0, "a"), make_row(1, "a", config_hash="c1")])
  write_report(tmp_path)
  page = Links((tmp_path / "index.html").read_text(encoding="utf-8"))
  assert "rows differ in config hash" in page.said


def test_input_errors_are_one_sentence(tmp_path):
  for folder in (tmp_path, tmp_path / "absent"):
    with pytest.raises(InputError, match="holds no rows"):
      write_report(folder)
  results.append(tmp_path, make_rows())
  (tmp_path / "run.json").write_text("{")
  with pytest.raises(InputError, match=r"run\.json is not valid JSON"):
    read_run(tmp_path)
  (tmp_path / "run.json").unlink()
  (tmp_path / "rows" / "part-000002.parquet").write_bytes(b"not parquet")
  with pytest.raises(InputError, match="cannot be read"):
    read_run(tmp_path)


def test_sounds_of_unlike_length_are_refused(tmp_path):
  folder = make_run(tmp_path / "run")
  soundfile.write(folder / "wav/0.f32.wav", np.zeros(10), RATE_HZ, subtype="FLOAT")
  with pytest.raises(InputError, match="one length"):
    write_report(folder)


def test_report_modules_do_not_name_jax():
  for path in Path(jaxadv.report.__file__).parent.glob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
      names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
      assert not {name.split(".")[0] for name in names} & {"jax", "flax", "optax"}


def test_naming_the_report_loads_no_matplotlib():
  code = "import sys, jaxadv.report; sys.exit('matplotlib' in sys.modules)"
  subprocess.run([sys.executable, "-c", code], check=True)
