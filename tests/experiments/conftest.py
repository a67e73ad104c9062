"""One data set, one victim and one attack run for all tests of this folder."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import tiny

from jaxadv.victim import load_victim


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
  # processes that are started again would spend most of their time compiling
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    folder = folder.parent  # what one worker compiled, the others find
  settings = {
    "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }
  with pytest.MonkeyPatch.context() as patched:
    for name, value in settings.items():
      patched.setitem(os.environ, name, value)
    yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
  """Folder of the tiny data set."""
  return tiny.write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def victim(dataset, tmp_path_factory) -> Path:
  """Folder of a victim trained without a break."""
  folder = tmp_path_factory.mktemp("victim") / "tiny"
  tiny.succeed(tiny.train(dataset, folder))
  return folder


@pytest.fixture(scope="session")
def says(victim) -> Callable[[Path], np.ndarray]:
  """A WAV of 32 kHz -> what the victim says of it, probabilities [classes]."""
  trained = load_victim(str(victim))

  @jax.jit
  def probabilities(x):
    with jax.default_matmul_precision("highest"):
      return jax.nn.softmax(trained.model.apply(trained.variables, x))

  @functools.cache
  def said(path: Path) -> np.ndarray:
    x, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == 32000
    padded = np.zeros(-(-len(x) // 65536) * 65536, np.float32)
    padded[: len(x)] = x
    return np.asarray(probabilities(padded))

  return said


@pytest.fixture(scope="session")
def attacked(dataset, victim, tmp_path_factory) -> tuple[Path, tiny.Ended]:
  """Folder and output of a run of two attacks without a break."""
  folder = tmp_path_factory.mktemp("attacked") / "run"
  return folder, tiny.succeed(tiny.attack(dataset, victim, folder))
