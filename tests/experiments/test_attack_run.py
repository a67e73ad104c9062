"""experiments/attack.py as a process: killed, started again, judged from its files."""

import hashlib
import json
import random
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
import tiny

from jaxadv import results

FLOATS = ("gt_conf", "new_conf", "gt_new_conf", "snr_db", "l2", "linf", "duration_s")
FELL = "late_drop"  # a difference of losses: their rounding counts
TARGETED = {"targets": "all", "data__clips_per_class": 1, "runtime__only": "pgd"}


@pytest.fixture(scope="module")
def targeted(dataset, victim, tmp_path_factory):
  folder = tmp_path_factory.mktemp("targeted") / "run"
  tiny.succeed(tiny.attack(dataset, victim, folder, **TARGETED))
  return folder


@pytest.fixture(scope="module", params=["untargeted", "targeted"])
def stored(request):
  """Folder and rows of a run; each test below holds for both."""
  if request.param == "targeted":
    folder = request.getfixturevalue("targeted")
  else:
    folder = request.getfixturevalue("attacked")[0]
  return folder, results.read(folder)


def assert_same_rows(found, expected):
  assert [(r["attack"], r["id"]) for r in found] == [
    (r["attack"], r["id"]) for r in expected
  ]
  for row, other in zip(found, expected, strict=True):
    for name in results.FIELDS:
      if name in FLOATS:
        np.testing.assert_allclose(row[name], other[name], rtol=1e-5, err_msg=name)
      elif name == FELL and row[name] is not None:
        assert row[name] == pytest.approx(other[name], abs=1e-4)
      # the noise's mean nearly cancels: rounding counts
      elif name not in ("seconds", "snr_of_mean_db"):
        assert row[name] == other[name], name


def test_one_row_for_each_attack_and_clip(dataset, attacked):
  rows = results.read(attacked[0])
  expected = {
    (attack, f"{label}{n}.wav", label)
    for attack in ("deepfool", "pgd")
    for label in tiny.CLASSES
    for n in range(2)
  }
  assert len(rows) == len(expected) == 12
  assert {(r["attack"], r["file"], r["label"]) for r in rows} == expected
  assert {r["target"] for r in rows} == {None}
  assert all(r["seconds"] > 0 and r["model"] == "tiny" for r in rows)
  for row in rows:
    source = dataset / "FSDKaggle2018.audio_test" / row["file"]
    assert row["duration_s"] == pytest.approx(soundfile.info(source).duration)
    # deepfool stops at its first success; pgd, as configured, never does
    assert row["steps"] == 41 if row["attack"] == "pgd" else 1 <= row["steps"] <= 51
    assert row["forward_passes"] == row["steps"]
  assert any(r["success"] for r in rows)


def test_one_row_for_each_clip_and_other_class(targeted):
  rows = results.read(targeted)
  found = [(r["file"], r["label"], r["target"]) for r in rows]
  expected = {
    (f"{label}0.wav", label, target)
    for label in tiny.CLASSES
    for target in tiny.CLASSES
    if target != label
  }
  assert set(found) == expected and len(found) == 6
  assert len({r["id"] for r in rows}) == len({r["wav"] for r in rows}) == 6


def test_killed_at_any_moment_it_ends_with_the_same_rows(
  dataset, victim, attacked, tmp_path
):
  folder, draw = tmp_path / "broken", random.Random(0)
  finished = set()
  waits_s = draw.uniform(0, 5), draw.uniform(0, 0.3), draw.uniform(0, 1)
  for kill, wait_s in enumerate(waits_s):
    count = len(finished)

    # the first strikes anywhere from the start on, the others once there is a new row
    def ready(kill=kill, count=count):
      return kill == 0 or len(list((folder / "rows").glob("*.parquet"))) > count

    # started with fewer attacks than it will have in the end
    command = tiny.attack(dataset, victim, folder, runtime__only="pgd")
    alive = tiny.kill_once(command, ready, wait_s)
    assert alive, "too late: it had ended"
    now = {(r["attack"], r["id"]) for r in results.read(folder)}
    rows = results.read(folder)
    assert finished <= now and len(rows) == len(now)
    for row in rows:
      assert (folder / row["wav"]).stat().st_size > 1000
    finished = now
  assert finished
  last = {"runtime__threads": 1, "runtime__chunk": 1}
  tiny.succeed(tiny.attack(dataset, victim, folder, **last))
  unbroken = results.read(attacked[0])
  order = {row["attack"]: n for n, row in enumerate(unbroken)}
  rows = sorted(results.read(folder), key=lambda r: (order[r["attack"]], r["id"]))
  assert_same_rows(rows, unbroken)
  for row in rows:
    for name in ("wav", "wav_pcm16", "wav_clean"):
      found, expected = (
        soundfile.read(f / row[name])[0] for f in (folder, attacked[0])
      )
      np.testing.assert_allclose(found, expected, atol=1e-6)
  assert not list(folder.rglob("*.tmp"))


def test_a_finished_run_is_not_run_again(dataset, victim, attacked, capsys):
  folder, _ = attacked
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
  changed = {"runtime__threads": 3, "runtime__only": "pgd"}
  # `call` compiles for the four devices of these tests, so it must not come to that
  ended = tiny.call(tiny.attack(dataset, victim, folder, **changed), capsys)
  assert ended.code == 0
  assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.mark.parametrize(
  "changed, named",
  [
    ({"seed": 3}, "seed was 0 and is 3"),
    ({"attacks__pgd__radius": 30.0}, "attacks.pgd.radius was 40.0 and is 30.0"),
    ({"targets": "all", "runtime__only": "pgd"}, "targets was '' and is 'all'"),
  ],
)
def test_another_config_is_refused(dataset, victim, attacked, capsys, changed, named):
  folder, _ = attacked
  ended = tiny.call(tiny.attack(dataset, victim, folder, **changed), capsys)
  assert named in tiny.sentence(ended)
  assert len(results.read(folder)) == 12


def test_the_stored_difference_has_the_size_that_the_row_says(stored):
  folder, rows = stored
  for row in rows:
    clean, rate_hz = soundfile.read(folder / row["wav_clean"], dtype="float32")
    adversarial, _ = soundfile.read(folder / row["wav"], dtype="float32")
    assert rate_hz == 32000 and clean.shape == adversarial.shape
    assert len(clean) == round(row["duration_s"] * 32000)
    # of the samples in the WAV's data chunk, which ends the file
    heard = (folder / row["wav_clean"]).read_bytes()[-4 * len(clean) :]
    assert row["clip_sha256"] == hashlib.sha256(heard).hexdigest()
    assert soundfile.info(folder / row["wav"]).subtype == "FLOAT"
    assert np.abs(adversarial).max() <= 1
    delta = adversarial.astype(np.float64) - clean
    l2, linf = np.linalg.norm(delta), np.abs(delta).max()
    assert row["l2"] == pytest.approx(l2, rel=1e-5)
    assert row["linf"] == pytest.approx(linf, rel=1e-5)
    snr_db = 20 * np.log10(np.linalg.norm(np.float64(clean)) / l2)
    assert row["snr_db"] == pytest.approx(snr_db, abs=1e-3)
    # sum(x^2) / N over (sum(delta) / N)^2, N with the padding
    power, padded = np.square(np.float64(clean)).sum(), -(-len(clean) // 65536) * 65536
    of_mean = 10 * np.log10(power * padded / delta.sum() ** 2)
    assert row["snr_of_mean_db"] == pytest.approx(of_mean, abs=1e-3)
    if row["attack"] == "pgd":
      assert 39.99 <= snr_db < 50


def test_the_guards_columns_are_what_the_stored_files_say(stored):
  folder, rows = stored
  for row in rows:
    adversarial, _ = soundfile.read(folder / row["wav"], dtype="float32")
    # the ball is held against the SNR above, the mask against the clean clip's length
    assert row["within_threat"]
    assert row["clipped"] == pytest.approx((np.abs(adversarial) >= 1).mean())
    first = row["first_success_step"]
    assert first is None or 1 <= first <= row["steps"]
    assert (first is not None) == row["success_loop"]
    assert row["silent_success"] == (row["success_loop"] and not row["success"])
    assert row["nan_steps"] == row["zero_gradients"] == 0
    # pgd, as configured, takes all of its steps; deepfool may stop before the last
    assert row["attack"] != "pgd" or row["late_drop"] >= 0


def test_it_looks_at_the_victim_first(dataset, victim, attacked, tmp_path):
  folder, ended = attacked
  told = json.loads((folder / "guards.json").read_text())
  assert told["attacks"] == ["deepfool", "pgd"]
  assert len(set(told["clips"])) == 3 and set(told["clips"]) <= {
    row["file"] for row in results.read(folder)
  }
  for flag in told["flags"]:
    assert f"guard {flag['name']}: {flag['said']}" in ended.out
    assert set(flag["examples"]) <= set(told["clips"])
  assert "\nGuards: " in ended.out
  assert "not tested: larger radius >= smaller" in ended.out
  page = (folder / "index.html").read_text()
  assert "Guards: " in page and "iterative &gt;= single step" in page
  # and not where it is told not to
  off = {"runtime__guards": False, "runtime__only": "pgd", "data__clips_per_class": 1}
  ended = tiny.succeed(tiny.attack(dataset, victim, tmp_path / "off", **off))
  assert not (tmp_path / "off" / "guards.json").exists()
  assert "not tested: victim (runtime.guards was off" in ended.out


def test_the_clean_wav_is_the_clip(dataset, stored):
  folder, rows = stored
  for row in rows:
    source = dataset / "FSDKaggle2018.audio_test" / row["file"]
    original = soundfile.read(source, dtype="float32")[0]
    clean = soundfile.read(folder / row["wav_clean"], dtype="float32")[0]
    np.testing.assert_array_equal(clean, original)


def test_the_row_is_what_the_victim_says_of_the_stored_files(stored, says):
  folder, rows = stored
  for row in rows:
    clean, new, pcm16 = (
      says(folder / row[name]) for name in ("wav_clean", "wav", "wav_pcm16")
    )
    assert soundfile.info(folder / row["wav_pcm16"]).subtype == "PCM_16"
    label = tiny.CLASSES.index(row["label"])
    assert row["clean_label"] == tiny.CLASSES[clean.argmax()]
    assert row["clean_correct"] == (clean.argmax() == label)
    assert row["new_label"] == tiny.CLASSES[new.argmax()]
    for name, value in (
      ("gt_conf", clean[label]),
      ("new_conf", new.max()),
      ("gt_new_conf", new[label]),
    ):
      assert row[name] == pytest.approx(value, abs=1e-4)
    for name, probs in (("success", new), ("success_pcm16", pcm16)):
      said = tiny.CLASSES[probs.argmax()]
      fooled = said == row["target"] if row["target"] else said != row["label"]
      assert row[name] == fooled


class Links(HTMLParser):
  """What a page points to, and what it can be pointed to."""

  def __init__(self):
    super().__init__()
    self.targets, self.anchors = set(), set()

  def handle_starttag(self, tag, attrs):
    values = dict(attrs)
    self.targets |= {values[name] for name in ("href", "src") if values.get(name)}
    self.anchors |= {values["id"]} if values.get("id") else set()


def test_every_link_of_the_page_resolves(stored):
  folder, rows = stored
  links = Links()
  links.feed((folder / "index.html").read_text())
  files = {link for link in links.targets if not link.startswith(("#", "data:"))}
  for link in files:
    assert (folder / unquote(link)).is_file(), link
  inside = {link[1:] for link in links.targets if link.startswith("#")}
  assert inside and inside <= links.anchors
  # it lets us hear each attacked clip: the original, and an adversarial in 16 bits
  attacked = [row for row in rows if row["clean_correct"]]
  heard = {unquote(link) for link in files}
  assert heard & {row["wav_pcm16"] for row in attacked}
  assert sum(link.endswith("-original.wav") for link in files) == len(
    {row["file"] for row in attacked}
  )


def test_it_prints_its_tables_and_where_the_page_is(attacked):
  folder, ended = attacked
  assert f"Page: {folder / 'index.html'}" in ended.out
  rows = [row for row in results.read(folder) if row["clean_correct"]]
  for name in ("deepfool", "pgd"):
    mine = [row["success"] for row in rows if row["attack"] == name]
    printed = [line for line in ended.out.splitlines() if line.startswith(name)]
    assert any(f"{100 * np.mean(mine):.2f}" in line.split() for line in printed)
  assert "Skipped files: 0" in ended.out
