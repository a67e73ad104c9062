"""A data set of a few seconds of synthetic sound, and the commands run on it."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from absl import flags

from jaxadv import cli

REPO = Path(__file__).parents[2]
CLASSES = ("high", "low", "middle")
BANDS_HZ = {"high": (6000, 12000), "low": (60, 250), "middle": (800, 2000)}
RATE_HZ = 32000


def sound(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
  """Noise in the band of its class, with a sine in its middle: [samples]."""
  low, high = BANDS_HZ[label]
  samples = round(seconds * RATE_HZ)
  spectrum = np.fft.rfft(rng.normal(size=samples))
  hz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
  noise = np.fft.irfft(spectrum * ((hz > low) & (hz < high)), samples)
  turns = np.arange(samples) * rng.uniform(low, high) / RATE_HZ
  x = noise / np.abs(noise).max() + np.sin(2 * np.pi * turns)
  return 0.6 * x / np.abs(x).max() + 0.003 * rng.normal(size=samples)


def write_split(root: Path, split: str, files: dict[str, str]) -> None:
  """The CSV of a split, in the layout of FSDKaggle2018. files: name -> label."""
  name = {
    "train": "train_post_competition.csv",
    "test": "test_post_competition_scoring_clips.csv",
  }[split]
  heads = {"train": "fname,label,manually_verified", "test": "fname,label,usage"}
  ends = {"train": "1", "test": "Public"}
  lines = [f"{file},{label},{ends[split]}" for file, label in files.items()]
  (root / "FSDKaggle2018.meta").mkdir(parents=True, exist_ok=True)
  table = root / "FSDKaggle2018.meta" / name
  table.write_text("\n".join([heads[split], *lines]) + "\n")
  (root / f"FSDKaggle2018.audio_{split}").mkdir(exist_ok=True)


def write_dataset(root: Path) -> Path:
  """3 classes, 8 clips each to train on and 2 to test on, of 0.3 to 2.5 s."""
  rng = np.random.default_rng(0)
  for split, seconds in (
    ("train", (0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.0, 2.5)),
    ("test", (0.7, 2.3)),
  ):
    files = {}
    for label in CLASSES:
      for n in range(len(seconds)):
        files[f"{label}{n}.wav"] = label
    write_split(root, split, files)
    for at, (file, label) in enumerate(files.items()):
      path = root / f"FSDKaggle2018.audio_{split}" / file
      x = sound(label, seconds[at % len(seconds)], rng)
      soundfile.write(path, x, RATE_HZ, "PCM_16")
  return root


def experiment(name: str):
  """experiments/NAME.py as a module."""
  path = REPO / "experiments" / f"{name}.py"
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def command(name: str, config: Path, **values: object) -> list[str]:
  """python experiments/NAME.py --config=CONFIG --config.KEY=VALUE ...

  A dot in a key is written as two underscores.
  """
  changes = [
    f"--config.{key.replace('__', '.')}={value}" for key, value in values.items()
  ]
  script = str(REPO / "experiments" / f"{name}.py")
  return [sys.executable, script, f"--config={config}", *changes]


def train(root: Path, workdir: Path, **values: object) -> list[str]:
  """The command that trains a network of width 1/32 for 4 epochs."""
  tiny = {
    "workdir": workdir,
    "data__root": root,
    "data__vocabulary": "any",
    "model__width": 1 / 32,
    "model__bn_momentum": 0.5,
    "train__batch": 8,
    "train__epochs": 4,
    "train__learning_rate": 0.01,
    "train__folds": 4,
    "train__keep": "last",
    "runtime__checkpoint_every_epochs": 1,
  }
  return command("train", REPO / "configs/bundled_victim.py", **(tiny | values))


def evaluate(root: Path, victim: Path, workdir: Path, **values: object) -> list[str]:
  """The command that evaluates on the test split."""
  tiny = {
    "workdir": workdir,
    "victim": victim,
    "data__root": root,
    "data__vocabulary": "any",
  }
  return command("evaluate", REPO / "configs/evaluate.py", **(tiny | values))


def attack(root: Path, victim: Path, workdir: Path, **values: object) -> list[str]:
  """The command that attacks the test split, as attack_config.py says."""
  tiny = {"workdir": workdir, "victim": victim, "data__root": root}
  config = Path(__file__).parent / "attack_config.py"
  return command("attack", config, **(tiny | values))


def universal(root: Path, workdir: Path, victim: str, **values: object) -> list[str]:
  """The command that trains one perturbation for 3 epochs of batches of 7 chunks."""
  small = {
    "workdir": workdir,
    "victim": victim,
    "test_victims": victim,
    "data__root": root,
    "data__vocabulary": "any",
    "train__epochs": 3,
    "train__batch": 7,
    "train__test_every_epochs": 2,
    "attacks__universal__step_size": 0.2,
    "runtime__batch_chunks": 4,
  }
  return command("universal", REPO / "configs/universal.py", **(small | values))


class Ended(NamedTuple):
  """Exit code and what was printed, of a process or of a call of main."""

  code: int
  out: str
  err: str


def start(command: list[str]) -> subprocess.Popen:
  """One CPU device, as users have it."""
  return subprocess.Popen(
    command,
    cwd=REPO,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(command: list[str]) -> Ended:
  """To the end."""
  process = start(command)
  out, err = process.communicate(timeout=300)
  return Ended(process.returncode, out, err)


def succeed(command: list[str]) -> Ended:
  """To the end, which must be a good one."""
  ended = run(command)
  assert ended.code == 0, ended.err
  return ended


def kill_once(command: list[str], ready: Callable[[], bool], wait_s: float = 0) -> bool:
  """SIGKILL `wait_s` after `ready` first holds; False where it had ended by itself."""
  process = start(command)
  deadline = time.monotonic() + 240
  while process.poll() is None and not ready():
    assert time.monotonic() < deadline, "nothing happened that could be interrupted"
    time.sleep(0.01)
  time.sleep(wait_s)
  alive = process.poll() is None
  process.kill()
  _, err = process.communicate()
  assert process.returncode in (0, -9), err
  return alive


def call(command: list[str], capsys) -> Ended:
  """As `run`, in this process: saves its start where nothing is compiled."""
  script = Path(command[1])
  before, known = _locks(), set(flags.FLAGS)
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(sys, "argv", command[1:])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
      cli.run(experiment(script.stem).main)
  # flags of one call must not be there for the next
  for name in set(flags.FLAGS) - known:
    delattr(flags.FLAGS, name)
  # the end of a process would have released its folder
  for lock in _locks() - before:
    os.close(lock)
  return Ended(int(ended.value.code or 0), *capsys.readouterr())


def _locks() -> set[int]:
  found = set()
  for link in Path("/proc/self/fd").iterdir():
    with contextlib.suppress(OSError):
      if os.readlink(link).endswith("/.lock"):
        found.add(int(link.name))
  return found


def sentence(ended: Ended) -> str:
  """The one sentence on stderr of a command that refused its input."""
  assert ended.code == 2, ended
  # tqdm draws its bars on stderr
  said = [line for line in ended.err.split("\n") if line and "%|" not in line]
  (line,) = said
  assert line.startswith("error: ") and len(line) > 30, ended.err
  assert "Traceback" not in ended.err + ended.out
  return line
