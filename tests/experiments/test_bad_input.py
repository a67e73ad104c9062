"""Bad input: one sentence and exit code 2; bad files are left out; a full disk is 3.

Over 300 lines: one table of everything a user may get wrong, in one place.
"""

import csv
import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from jaxadv import results


def own_config(path: Path, change: str) -> Path:
  """A config file of a user's own: attack_config.py, and a line that changes it."""
  source = (Path(tiny.__file__).parent / "attack_config.py").read_text()
  lines = source.replace("  return ConfigDict(", "  config = ConfigDict(")
  everything = 'config.runtime.only = ""'
  path.write_text(f"{lines}  {everything}\n  {change}\n  return config\n")
  return path


# what is wrong with the command, and what the sentence must name
ATTACK = {
  "no folder": ({"data__root": "/nowhere/at_all"}, ["/nowhere/at_all"]),
  "vocabulary": (
    {"data__vocabulary": "fsdkaggle2018"},
    ['label "high"', "line 2", "test_post_competition"],
  ),
  "no such vocabulary": ({"data__vocabulary": "mine"}, ["data.vocabulary", "'mine'"]),
  "split": ({"data__split": "tset"}, ["tset"]),
  "unknown key": ({"data__rate_hz": 3}, ["rate_hz"]),
  "unknown attack": ({"attacks__bim__steps": 3}, ["bim"]),
  "type": ({"seed": "many"}, ["seed", "many"]),
  "fraction": ({"attacks__pgd__steps": 1.5}, ["steps", "1.5"]),
  "radius as text": ({"attacks__pgd__radius": "loud"}, ["radius", "loud"]),
  "radius not a number": ({"attacks__pgd__radius": "nan"}, ["pgd.radius", "nan"]),
  "steps": ({"attacks__pgd__steps": -1}, ["attacks.pgd.steps", "-1"]),
  "no steps": ({"attacks__pgd__steps": 0}, ["attacks.pgd.steps", "0", "at least 1"]),
  "seed": ({"seed": -1}, ["seed", "-1", "at least 0"]),
  "seed too large": ({"seed": 2**70}, ["seed", str(2**70)]),
  "lanes": ({"runtime__lane_chunks": -1}, ["runtime.lane_chunks", "-1"]),
  "threads": ({"runtime__threads": 0}, ["runtime.threads", "0"]),
  "band limit": ({"data__band_limit_hz": -5}, ["band_limit_hz", "-5"]),
  "precision": ({"precision": "exact"}, ["precision", "'exact'", "highest"]),
  "method": ({"attacks__pgd__method": "gdp"}, ["attacks.pgd.method", "'gdp'", "pgd"]),
  "norm": ({"attacks__pgd__norm": "l3"}, ["attacks.pgd.norm", "'l3'", "l2"]),
  "budget": ({"attacks__pgd__budget": "db"}, ["attacks.pgd.budget", "'db'"]),
  "goal": ({"attacks__pgd__goal": "best"}, ["attacks.pgd.goal", "'best'"]),
  "only": ({"runtime__only": "pdg"}, ["runtime.only", "'pdg'"]),
  "target": (
    {"targets": "Trombone", "runtime__only": "pgd"},
    ["targets", "'Trombone'", "high, low, middle"],
  ),
  "class": ({"data__classes": "low,Oboe"}, ["data.classes", "'Oboe'"]),
  "no target": (
    {"targets": "all", "attacks__pgd__method": "apgd_targeted"},
    ["apgd_targeted", "no targeted form"],
  ),
  "a target that all clips are": (
    {"targets": "low", "data__classes": "low"},
    ["targets", "'low'", "every clip"],
  ),
  "victim": ({"victim": "/nowhere/victim"}, ["/nowhere/victim", "train"]),
  "no cluster": ({"runtime__distributed": "auto"}, ["runtime.distributed", "'auto'"]),
}
TRAIN = {
  "type": ({"train__batch": "many"}, ["batch", "many"]),
  "epochs": ({"train__epochs": 0}, ["train.epochs", "0"]),
  "batch": ({"train__batch": -8}, ["train.batch", "-8"]),
  "rate": ({"train__learning_rate": "nan"}, ["train.learning_rate", "nan"]),
  "width": ({"model__width": 0}, ["model.width", "0"]),
  "momentum": ({"model__bn_momentum": 1.5}, ["model.bn_momentum", "1.5"]),
  "seed": ({"seed": -1}, ["seed", "-1"]),
  "network": ({"model__network": "vgg31"}, ["model.network", "'vgg31'", "vgg13"]),
  "frontend": ({"model__frontend": "mfcc"}, ["model.frontend", "'mfcc'"]),
  "features": ({"train__features": "mfcc"}, ["train.features", "'mfcc'"]),
  "folder": ({"data__root": "/nowhere/at_all"}, ["/nowhere/at_all"]),
}


@pytest.mark.parametrize("wrong", ATTACK)
def test_attack_refuses(dataset, victim, tmp_path, capsys, wrong):
  values, named = ATTACK[wrong]
  values = {"data__root": dataset, "victim": victim} | values
  config = Path(tiny.__file__).parent / "attack_config.py"
  command = tiny.command("attack", config, workdir=tmp_path / "run", **values)
  said = tiny.sentence(tiny.call(command, capsys))
  assert all(word in said for word in named), said
  assert not (tmp_path / "run" / "rows").exists()


@pytest.mark.parametrize("wrong", TRAIN)
def test_train_refuses(dataset, tmp_path, capsys, wrong):
  values, named = TRAIN[wrong]
  command = tiny.train(dataset, tmp_path / "run", **values)
  said = tiny.sentence(tiny.call(command, capsys))
  assert all(word in said for word in named), said
  assert not (tmp_path / "run").exists()


def test_more_folds_than_clips(dataset, tmp_path, capsys):
  command = tiny.train(dataset, tmp_path / "run", train__folds=50)
  assert "train.folds is 50" in tiny.sentence(tiny.call(command, capsys))


@pytest.mark.parametrize(
  "change, named",
  [
    ('config.data.rate_hz = 3', ["data.rate_hz", "band_limit_hz"]),
    ('config.colour = "red"', ["colour", "precision"]),
    ("del config.seed", ["lacks seed"]),
    ('config.attacks.pgd.step = 3', ["attacks.pgd.step ", "step_size"]),
    ("del config.attacks.pgd.method", ["attacks.pgd.method"]),
    ("del config.attacks.pgd.radius", ["attacks.pgd.radius"]),
    ('config.attacks.mine = 3', ["attacks.mine", "3"]),
    ("config.attacks.clean = config.attacks.pgd", ["'clean'", "rename"]),
    ("config.attacks = ConfigDict()", ["attacks"]),
    ('config = ConfigDict(config.to_dict() | {"seed": "1"})', ["seed", "'1'"]),
    ('config = ConfigDict(config.to_dict() | {"seed": True})', ["seed", "True"]),
    (
      'config = ConfigDict(config.to_dict() | {"data": "bundled"})',
      ["data", "'bundled'", "root"],
    ),
    (
      'config.attacks = {"pgd": {"method": "pgd", "norm": "l2", "radius": "loud"}}',
      ["attacks.pgd.radius", "'loud'", "float"],
    ),
    (
      'config.attacks = {"pgd": {"method": "pgd", "norm": "l2", "radius": -1.0}}',
      ["attacks.pgd.radius", "-1.0"],
    ),
    (
      'config.attacks = {"pgd": {"method": "pgd", "norm": "l2", "radius": 0.0}}',
      ["attacks.pgd.radius", "0.0", "more than 0"],
    ),
    ("config = config.to_dict()", ["get_config", "dict", "ConfigDict"]),
    ("config = config.nothing", ["mine.py", "nothing"]),
    ("config = (", ["was never closed"]),
    ("config.seed = int('one')", ["mine.py: invalid literal", "'one'"]),
  ],
)  # fmt: skip
def test_a_config_of_ones_own_is_refused(
  dataset, victim, tmp_path, capsys, change, named
):
  config = own_config(tmp_path / "mine.py", change)
  command = tiny.command("attack", config)
  said = tiny.sentence(tiny.call(command, capsys))
  assert all(word in said for word in named), said


def test_too_few_classes_for_a_loss(dataset, victim, tmp_path, capsys):
  change = 'config.attacks = {"x": config.attacks.pgd.to_dict() | {"loss": "dlr"}}'
  config = own_config(tmp_path / "mine.py", change)
  values = {"data__root": dataset, "victim": victim, "targets": "low"}
  command = tiny.command("attack", config, workdir=tmp_path / "run", **values)
  said = tiny.sentence(tiny.call(command, capsys))
  assert all(word in said for word in ("attacks.x", "DLR", "4 classes", "has 3")), said


LATER = {  # what the tiny victim with its three classes can't have
  "survey": (
    {"method": "fmn", "norm": "l2", "survey": 5},
    ["survey is 5", "3 classes"],
  ),
  "a later stage": (
    {"method": "autoattack", "norm": "linf", "radius": 0.1},
    ["DLR", "4 classes", "has 3"],
  ),
}


@pytest.mark.parametrize("entry, named", LATER.values(), ids=LATER)
def test_a_later_attack_is_refused_before_the_first_runs(
  dataset, victim, tmp_path, capsys, entry, named
):
  change = f"config.attacks = {{'pgd': config.attacks.pgd.to_dict(), 'x': {entry}}}"
  config = own_config(tmp_path / "mine.py", change)
  values = {"data__root": dataset, "victim": victim}
  command = tiny.command("attack", config, workdir=tmp_path / "run", **values)
  said = tiny.sentence(tiny.call(command, capsys))
  assert all(word in said for word in ["attacks.x", *named]), said
  assert not results.read(tmp_path / "run")


@pytest.mark.parametrize("experiment", ["attack", "train", "evaluate"])
def test_flags_are_refused(tmp_path, capsys, experiment):
  for flags, named in (
    ([], ["no config", "--config="]),
    (["--config=configs/nowhere.py"], ["configs/nowhere.py"]),
    (["-config=configs/nowhere.py"], [": -config=configs/nowhere.py: there is no"]),
    (["--cfg=configs/quickstart.py"], ["cfg"]),
    ([f"--config={tmp_path}"], [str(tmp_path)]),
    ([f"--config={tiny.REPO}/configs/quickstart.py", "rows"], ["'rows'"]),
    ([f"--config={tiny.REPO}/configs/p1_targeted.py:nope"], ["py:nope: 'nope' is no"]),
  ):
    command = tiny.command(experiment, tmp_path)[:2] + flags
    said = tiny.sentence(tiny.call(command, capsys))
    assert all(word in said for word in named), said


def test_a_process_says_it_as_well(dataset, victim, tmp_path):
  """Once as a user sees it: nothing else on stderr, nothing on stdout."""
  command = tiny.attack(dataset, victim, tmp_path / "run", attacks__pgd__steps=-1)
  ended = tiny.run(command)
  assert "attacks.pgd.steps" in tiny.sentence(ended)
  assert ended.out == ""


@pytest.mark.parametrize("experiment", ["attack", "train", "evaluate"])
def test_a_folder_that_cannot_be_a_workdir(
  dataset, victim, tmp_path, capsys, experiment
):
  """Tests may run as root, whom no permission stops."""

  def refused(folder):
    command = {
      "attack": lambda: tiny.attack(dataset, victim, folder),
      "evaluate": lambda: tiny.evaluate(dataset, victim, folder),
      "train": lambda: tiny.train(dataset, folder),
    }[experiment]()
    return tiny.sentence(tiny.call(command, capsys))

  file = tmp_path / "thesis.txt"
  file.write_text("all I have")
  for folder in (file, file / "run"):
    said = refused(folder)
    assert f"'{folder}'" in said and "can't be written" in said
  assert file.read_text() == "all I have"
  said = refused(tmp_path)
  assert f"'{tmp_path}'" in said and "'thesis.txt'" in said
  assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_workdir_in_use(dataset, victim, tmp_path, capsys):
  with (tmp_path / ".lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    said = tiny.sentence(tiny.call(tiny.attack(dataset, victim, tmp_path), capsys))
  assert "in use by another process" in said and str(tmp_path) in said


@pytest.mark.parametrize(
  "content, named",
  [
    ("fname,manually_verified\na.wav,1\n", ["no column label"]),
    ("label,usage\nlow,Public\n", ["no column fname"]),
    ("", ["empty"]),
    ("fname,label\n", ["no clips"]),
    ("fname,label\na.wav,\n", ["line 2", "a.wav"]),
    ("fname,label\na.wav,low\na.wav,low\n", ["a.wav", "twice"]),
    ("fname,label\na.wav,Tuba\n", ['"Tuba"', "a.wav"]),
    ("fname,label\n\xff\xfe\x00", ["UTF-8"]),
  ],
)
def test_a_csv_that_says_too_little(victim, tmp_path, capsys, content, named):
  tiny.write_split(tmp_path / "data", "test", {})
  (table,) = (tmp_path / "data" / "FSDKaggle2018.meta").iterdir()
  table.write_bytes(content.encode("latin-1"))
  command = tiny.attack(tmp_path / "data", victim, tmp_path / "run")
  said = tiny.sentence(tiny.call(command, capsys))
  assert table.name in said and all(word in said for word in named), said


def truncate(path: Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
  path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, overwrite, Path.unlink])
def test_a_damaged_checkpoint(dataset, victim, tmp_path, capsys, damage):
  copy = tmp_path / "victim"
  shutil.copytree(victim, copy)
  for path in (copy / "variables").rglob("*"):
    if path.is_file():
      damage(path)
  said = tiny.sentence(tiny.call(tiny.attack(dataset, copy, tmp_path / "run"), capsys))
  assert f"{copy}/variables" in said and "missing or damaged" in said, said


@pytest.mark.parametrize(
  "change, named",
  [
    ({"width": 1 / 16}, ["another architecture", "should have"]),
    ({"network": "vgg31"}, ["vgg31"]),
    ({"frontend": 3}, ["3"]),
    ({"width": None}, ["width"]),
    ({"network": ...}, ["network"]),
  ],
)
def test_a_checkpoint_of_another_architecture(
  dataset, victim, tmp_path, capsys, change, named
):
  copy = tmp_path / "victim"
  shutil.copytree(victim, copy)
  described = json.loads((copy / "victim.json").read_text())
  described["model"] |= change
  described["model"] = {k: v for k, v in described["model"].items() if v is not ...}
  (copy / "victim.json").write_text(json.dumps(described))
  said = tiny.sentence(tiny.call(tiny.attack(dataset, copy, tmp_path / "run"), capsys))
  assert all(word in said for word in named), said


@pytest.mark.parametrize(
  "content", ["", "{", "[]", '{"model": {}}', '{"model": 3, "classes": 4}', "\xff\xfe"]
)
def test_a_damaged_victim_json(dataset, victim, tmp_path, capsys, content):
  copy = tmp_path / "victim"
  shutil.copytree(victim, copy)
  (copy / "victim.json").write_bytes(content.encode("latin-1"))
  said = tiny.sentence(tiny.call(tiny.attack(dataset, copy, tmp_path / "run"), capsys))
  assert "victim.json" in said and str(copy) in said


# file -> what its reason must say
BAD = {
  "missing.wav": "missing",
  "empty.wav": "empty",
  "truncated.wav": "truncated",
  "text.wav": "not audio",
  "nan.wav": "NaN",
  "infinite.wav": "infinite",
  "silent.wav": "silent",
  "short.wav": "too short: 0.01 s",
}
# file -> rate in Hz, subtype, channels
GOOD = {
  "plain.wav": (32000, "PCM_16", 1),
  "stereo.wav": (32000, "PCM_16", 2),
  "eight.wav": (32000, "PCM_U8", 1),
  "twentyfour.wav": (32000, "PCM_24", 1),
  "loud.wav": (32000, "FLOAT", 1),
  "fast.wav": (96000, "PCM_16", 1),
}


@pytest.fixture(scope="module")
def mixed_bag(tmp_path_factory):
  """A data set of the files above, both as test and as training clips."""
  root = tmp_path_factory.mktemp("mixed")
  for split in ("test", "train"):
    tiny.write_split(root, split, dict.fromkeys([*BAD, *GOOD], "low"))
    write_files(root / f"FSDKaggle2018.audio_{split}")
  return root


def write_files(folder: Path) -> None:
  x = tiny.sound("low", 0.7, np.random.default_rng(5)).astype(np.float32)
  for name, (rate_hz, subtype, channels) in GOOD.items():
    one = np.repeat(x, rate_hz // 32000)
    one = one * (2.5 if name == "loud.wav" else 1)
    # the left channel alone: the mono mix, the mean, is half as loud
    both = np.stack([one, 0 * one], 1) if channels == 2 else one
    soundfile.write(folder / name, both, rate_hz, subtype)
  whole = (folder / "plain.wav").read_bytes()
  (folder / "empty.wav").touch()
  (folder / "truncated.wav").write_bytes(whole[:20000])
  (folder / "text.wav").write_text("The recording is in the other folder.\n" * 20)
  for name, bad in (("nan.wav", np.nan), ("infinite.wav", np.inf)):
    soundfile.write(folder / name, np.append(x, np.float32(bad)), 32000, "FLOAT")
  soundfile.write(folder / "silent.wav", 0 * x, 32000, "PCM_16")
  soundfile.write(folder / "short.wav", x[:320], 32000, "PCM_16")


def check_skipped(folder: Path, out: str) -> None:
  """In skipped.csv and in what is printed: each bad file with its reason."""
  with (folder / "skipped.csv").open(newline="") as file:
    reasons = {row["file"]: row["reason"] for row in csv.DictReader(file)}
  assert set(reasons) == set(BAD)
  for name, reason in reasons.items():
    assert BAD[name] in reason, (name, reason)
    shown = [line for line in out.splitlines() if name in line]
    assert any(reason in line for line in shown), (name, out)


def test_attack_carries_on(mixed_bag, victim, tmp_path):
  folder = tmp_path / "run"
  values = {"runtime__only": "white_noise", "runtime__lane_chunks": 6}
  ended = tiny.succeed(tiny.attack(mixed_bag, victim, folder, **values))
  check_skipped(folder, ended.out)
  assert "loud.wav: clipped to [-1, 1]" in ended.out
  rows = {row["file"]: row for row in results.read(folder)}
  assert set(rows) == set(GOOD)
  plain, _ = soundfile.read(folder / rows["plain.wav"]["wav_clean"])
  for name, row in rows.items():
    clean, rate_hz = soundfile.read(folder / row["wav_clean"])
    assert rate_hz == 32000 and row["snr_db"] == pytest.approx(20, abs=0.5)
    if name == "loud.wav":
      assert np.abs(clean).max() == 1
    elif name == "fast.wav":
      assert len(clean) == len(plain)
    else:
      # 8 bits: steps of 1/128
      expected = plain / 2 if name == "stereo.wav" else plain
      np.testing.assert_allclose(clean, expected, atol=0.01)


def test_evaluate_carries_on(mixed_bag, victim, tmp_path):
  folder = tmp_path / "run"
  ended = tiny.succeed(tiny.evaluate(mixed_bag, victim, folder))
  check_skipped(folder, ended.out)
  assert "loud.wav: clipped to [-1, 1]" in ended.out
  (line,) = [line for line in ended.out.splitlines() if line.split()[:1] == ["tiny"]]
  assert (line.split()[2], line.split()[-1]) == (str(len(GOOD)), str(len(BAD)))


def test_train_carries_on(mixed_bag, tmp_path):
  folder = tmp_path / "run"
  values = {"train__epochs": 1, "train__folds": 2, "train__batch": 3}
  ended = tiny.succeed(tiny.train(mixed_bag, folder, **values))
  check_skipped(folder, ended.out)
  assert "loud.wav: clipped to [-1, 1]" in ended.out
  assert (folder / "victim.json").is_file()


def test_nothing_but_bad_files(victim, tmp_path, capsys):
  tiny.write_split(tmp_path / "data", "test", {"text.wav": "low", "no.wav": "high"})
  audio = tmp_path / "data" / "FSDKaggle2018.audio_test"
  (audio / "text.wav").write_text("The recording is in the other folder.\n" * 20)
  command = tiny.evaluate(tmp_path / "data", victim, tmp_path / "evaluated")
  said = tiny.sentence(tiny.call(command, capsys))
  assert "none of 2 clips can be used" in said and "skipped.csv" in said
  assert "text.wav,not audio" in (tmp_path / "evaluated/skipped.csv").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(dataset, victim, tmp_path, capsys):
  folder = tmp_path / "run"

  def command(only):
    values = {
      "runtime__only": only,
      "data__clips_per_class": 1,
      "runtime__guards": False,
    }
    return tiny.attack(dataset, victim, folder, **values)

  assert tiny.call(command("white_noise"), capsys).code == 0
  kept = results.read(folder)
  assert len(kept) == 3 and len(list((folder / "rows").iterdir())) == 3
  # a file that can't grow, where the next temporary one will be written: once the WAV
  # of the second clip, once the third row
  (wav,) = [row["wav"] for row in kept if row["file"] == "low0.wav"]
  wav = wav.replace("white_noise", "pgd") + ".tmp"
  for name, rows in ((wav, 1), ("rows/part-000006.parquet.tmp", 2)):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to("/dev/full")
    ended = tiny.call(command("pgd"), capsys)
    assert ended.code == 3, ended
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "disk is full" in line and "rows so far are intact" in line
    assert "Traceback" not in ended.err
    now = results.read(folder)
    assert now[:3] == kept and len(now) == 3 + rows
  assert tiny.call(command("pgd"), capsys).code == 0
  found = [(row["attack"], row["file"]) for row in results.read(folder)]
  names = sorted(f"{label}0.wav" for label in tiny.CLASSES)
  assert sorted(found) == [(a, name) for a in ("pgd", "white_noise") for name in names]
