"""experiments/universal.py: closed forms, devices, processes, kills."""

import csv
import json
import os
import socket
import subprocess

import numpy as np
import pytest
import soundfile
import tiny
import universal_victims as victims

from jaxadv.universal_run import HISTORY

CHUNK, RATE_HZ = victims.CHUNK, 32000
PLACE = "tests/experiments/universal_victims.py"


def table(path):
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


# --- a linear victim, whose best perturbation is known

SNR_DB = 20.0
START_S, END_S = 0.5, 1.5
LOW_HZ, HIGH_HZ = 50.1, 7999.9  # between the lines of the spectrum
TO_LOW = {
  "target": "low",
  "test_victims": f"{PLACE}:linear,{PLACE}:other",
  "attacks__universal__radius": SNR_DB,
  "mask__start_s": START_S,
  "mask__end_s": END_S,
  "train__epochs": 2,
  "train__batch": 1,
  "runtime__checkpoint_every_epochs": 2,
}


@pytest.fixture(scope="module")
def chunks(tmp_path_factory):
  """Clips without padding to train on; to test on, some of other lengths too."""
  root = tmp_path_factory.mktemp("chunks")
  rng = np.random.default_rng(3)
  lengths = {
    "train": [("high", CHUNK)] * 5 + [("high", 2 * CHUNK), ("low", CHUNK)],
    "test": [("high", CHUNK)] * 9
    + [("high", 2 * CHUNK), ("high", CHUNK // 2), ("middle", CHUNK), ("low", CHUNK)],
  }
  for split, clips in lengths.items():
    files = {f"{n}.wav": label for n, (label, _) in enumerate(clips)}
    tiny.write_split(root, split, files)
    for n, (label, samples) in enumerate(clips):
      x = rng.uniform(0.1, 1) * tiny.sound(label, samples / RATE_HZ, rng)
      path = root / f"FSDKaggle2018.audio_{split}" / f"{n}.wav"
      soundfile.write(path, x, RATE_HZ, "FLOAT")
  return root


@pytest.fixture(scope="module")
def linear(chunks, tmp_path_factory, module_capsys):
  """Folder of a run towards "low" on the linear victim."""
  folder = tmp_path_factory.mktemp("linear") / "run"
  asked = tiny.universal(chunks, folder, f"{PLACE}:linear", **TO_LOW)
  ended = tiny.call(asked, module_capsys)
  assert ended.code == 0, ended.err
  return folder


class _Quiet:
  """Stands for capsys in fixtures that live longer than a test."""

  def readouterr(self):
    return "", ""


@pytest.fixture(scope="module")
def module_capsys():
  return _Quiet()


def heard(u, x):
  """Each chunk hears u in proportion to its own size; padding hears nothing."""
  padded = np.zeros(-(-len(x) // CHUNK) * CHUNK)
  padded[: len(x)] = x
  rows = padded.reshape(-1, CHUNK)
  moved = (rows + u * np.linalg.norm(rows, axis=1, keepdims=True)).ravel()
  moved[len(x) :] = 0
  return np.clip(moved, -1, 1), padded


def test_the_best_perturbation_of_a_linear_victim(linear):
  """It is the difference of the two rows of weights inside the mask, as large as the
  SNR allows."""
  u = np.float64(np.load(linear / "perturbation.npy"))
  w = np.float64(victims.matrix(0))
  at_s = np.arange(CHUNK) / RATE_HZ
  best = (w[:, 1] - w[:, 0]) * ((at_s >= START_S) & (at_s < END_S))
  best *= 10 ** (-SNR_DB / 20) / np.linalg.norm(best)
  assert np.linalg.norm(u - best) < 2e-3 * np.linalg.norm(best)
  assert (u[best == 0] == 0).all() and (best == 0).mean() > 0.5
  wav, rate_hz = soundfile.read(linear / "perturbation.wav", dtype="float32")
  gain = metrics(linear)["wav_gain"]
  np.testing.assert_allclose(wav, gain * u, rtol=1e-5, atol=1e-7)
  assert rate_hz == RATE_HZ and np.abs(wav).max() == pytest.approx(0.5)


def test_tested_clips_hear_it_within_the_budget(linear, chunks):
  """Every row as numpy says it, for both victims; rates and SNRs are those of rows."""
  folder = linear
  u = np.float64(np.load(folder / "perturbation.npy"))
  rows, wrong = table(folder / "test.csv"), 0
  assert len(rows) == 2 * 12  # without the clip of the target
  for row in rows:
    path = chunks / "FSDKaggle2018.audio_test" / row["file"]
    y, x = heard(u, soundfile.read(path)[0])
    snr_db = 20 * np.log10(np.linalg.norm(x) / np.linalg.norm(y - x))
    assert snr_db > SNR_DB - 1e-3
    assert float(row["snr_db"]) == pytest.approx(snr_db, abs=2e-3)
    assert float(row["noise_snr_db"]) == pytest.approx(snr_db, abs=0.02)
    w = np.float64(victims.matrix(("linear", "other").index(row["model"])))
    for voice, said in ((x, row["clean"]), (y, row["universal"])):
      logits = voice.reshape(-1, CHUNK).mean(0) @ w + (2, 0, -9)
      # float32 may see a tie another way
      if abs(logits[0] - logits[1]) > 1e-3:
        assert said == victims.CLASSES[logits.argmax()]
      wrong += said != "high"
  assert 0 < wrong < len(rows)
  for name, said in metrics(folder)["tested"].items():
    mine = [row for row in rows if row["model"] == name]
    right = [row for row in mine if row["clean"] == row["label"]]
    assert (said["clips"], said["right"]) == (len(mine), len(right)) == (12, 11)
    for key, voice in (("fooled", "universal"), ("noise_fooled", "noise")):
      assert said[key][0] == np.mean([row[voice] == "low" for row in right])
    snr_db = np.mean([float(row["snr_db"]) for row in right])
    assert said["snr_db"][0] == pytest.approx(snr_db)
  tested = metrics(folder)["tested"]
  assert tested["linear"]["fooled"][0] > tested["other"]["fooled"][0]
  assert tested["linear"]["fooled"][0] > tested["linear"]["noise_fooled"][0]


def metrics(folder):
  return json.loads((folder / "metrics.json").read_text())


def test_a_finished_run_holds_its_report_and_is_left_alone(linear, chunks, capsys):
  text = (linear / "universal.md").read_text()
  assert "linear (trained on)" in text and "| other |" in text
  assert (linear / "universal.png").read_bytes()[:4] == b"\x89PNG"
  assert (linear / "universal.pdf").read_bytes()[:4] == b"%PDF"
  before = (linear / "perturbation.npy").stat().st_mtime_ns
  asked = tiny.universal(chunks, linear, f"{PLACE}:linear", **TO_LOW)
  ended = tiny.call(asked, capsys)
  assert ended.code == 0 and "is finished" in ended.out
  assert (linear / "perturbation.npy").stat().st_mtime_ns == before
  changed = [*asked, "--config.train.batch=2"]
  assert "train.batch was 1 and is 2" in tiny.sentence(tiny.call(changed, capsys))


@pytest.mark.parametrize("looks", [True, False])
def test_it_looks_at_the_victim_first(looks, dataset, tmp_path, capsys):
  """And says that it gives probabilities; not where it is told not to."""
  place, folder = "tests/experiments/own_victim.py:probabilities", tmp_path / "run"
  few = {"train__epochs": 1, "runtime__guards": looks}
  ended = tiny.call(tiny.universal(dataset, folder, place, **few), capsys)
  assert ended.code == 0
  assert (folder / "guards.json").exists() == looks
  assert ("guard probabilities: the victim returns" in ended.out) == looks


# --- a curved victim: devices, processes, kills


LOUDEST = "tests/experiments/own_victim.py:function"
BAND = {
  "mask__low_hz": LOW_HZ,
  "mask__high_hz": HIGH_HZ,
  "attacks__universal__radius": -6.0,  # such that the victim says another band
}


@pytest.fixture(scope="module")
def unbroken(dataset, tmp_path_factory, module_capsys):
  """Folder of a run on four devices of this process."""
  folder = tmp_path_factory.mktemp("unbroken") / "run"
  ended = tiny.call(tiny.universal(dataset, folder, LOUDEST, **BAND), module_capsys)
  assert ended.code == 0, ended.err
  return folder


def close(folder, other):
  """The same perturbation, history and rows."""
  u, v = (np.load(at / "perturbation.npy") for at in (folder, other))
  assert np.linalg.norm(u - v) < 1e-3 * np.linalg.norm(v) > 0
  for row, same in zip(
    *(table(at / "history.csv") for at in (folder, other)), strict=True
  ):
    assert tuple(row) == HISTORY
    for name in HISTORY[:-1]:
      assert (row[name] == "") == (same[name] == "")
      if row[name]:
        assert float(row[name]) == pytest.approx(float(same[name]), rel=1e-3, abs=1e-4)
  rows, sames = table(folder / "test.csv"), table(other / "test.csv")
  assert [(r["id"], r["universal"]) for r in rows] == [
    (r["id"], r["universal"]) for r in sames
  ]


def test_it_learns_and_says_so(unbroken, dataset):
  history = table(unbroken / "history.csv")
  assert [row["epoch"] for row in history] == ["1", "2", "3"]
  assert [row["test_fooled"] != "" for row in history] == [False, True, True]
  assert float(history[-1]["loss"]) < float(history[0]["loss"])
  assert float(history[-1]["train_fooled"]) > float(history[0]["train_fooled"])
  (said,) = metrics(unbroken)["tested"].values()
  assert said["fooled"][0] == float(history[-1]["test_fooled"]) > 0
  assert metrics(unbroken)["size"] <= 10 ** (6 / 20) * 1.0001
  assert metrics(unbroken)["nan_steps"] == 0


def test_nothing_is_outside_the_band(unbroken):
  power = np.abs(np.fft.rfft(np.float64(np.load(unbroken / "perturbation.npy")))) ** 2
  hz = np.fft.rfftfreq(CHUNK, 1 / RATE_HZ)
  inside = (hz >= LOW_HZ) & (hz <= HIGH_HZ)
  assert power[~inside].sum() < 1e-10 * power[inside].sum()
  assert (power[inside] > 1e-3 * power[inside].mean()).mean() > 0.1


def test_killed_on_one_device_and_started_again_on_four_it_ends_the_same(
  dataset, unbroken, tmp_path, capsys
):
  folder = tmp_path / "run"
  asked = tiny.universal(dataset, folder, LOUDEST, **BAND)
  assert tiny.kill_once(asked, (folder / "epochs" / "1").exists)
  assert not (folder / "metrics.json").exists()
  ended = tiny.call(asked, capsys)
  assert ended.code == 0 and "goes on after epoch" in ended.out
  close(folder, unbroken)


def test_two_processes_of_two_devices_end_the_same(dataset, unbroken, tmp_path):
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  folder, devices = (
    tmp_path / "run",
    {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"},
  )
  processes = [
    subprocess.Popen(
      tiny.universal(
        dataset,
        folder,
        LOUDEST,
        **BAND,
        runtime__distributed=f"localhost:{port},2,{index}",
      ),
      cwd=tiny.REPO,
      env=os.environ | devices,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(2)
  ]
  said = [process.communicate(timeout=300)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], said
  close(folder, unbroken)
  assert "Universal perturbation" in said[0] and "Universal" not in said[1]
