"""The profile of a run: what the device did, counted, and that a flag writes it."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.profiler import ProfileData

from jaxadv import profiling

SCRIPT = """
import jax, jax.numpy as jnp
from jaxadv import cli

def main(config):
  jax.jit(lambda x: jnp.abs(jnp.fft.rfft(x)))(jnp.ones(2**12)).block_until_ready()

cli.run(main)
"""
CONFIG = """
from ml_collections import ConfigDict

def get_config():
  return ConfigDict({"workdir": WORKDIR})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The trace of three transforms and a product, already compiled."""
  spectrum = jax.jit(lambda x: jnp.fft.rfft(jnp.fft.irfft(jnp.fft.rfft(x)) ** 2))
  product = jax.jit(lambda x: jnp.sin(x) @ x)
  line, square = jnp.ones(2**16), jnp.ones((2**8, 2**8))
  jax.block_until_ready((spectrum(line), product(square)))
  folder = tmp_path_factory.mktemp("profile")
  with profiling.profiled(folder):
    for _ in range(5):
      jax.block_until_ready((spectrum(line), product(square)))
  return folder


def test_every_call_of_an_operation_is_counted(folder):
  found = {one.name: one for one in profiling.operations(folder)}
  assert found["fft"].calls == 15
  assert found["fft"].seconds > 0
  seconds = [one.seconds for one in profiling.operations(folder)]
  assert seconds == sorted(seconds, reverse=True)


def test_the_table_has_the_costliest_first_and_all_of_the_time(folder):
  found = profiling.operations(folder)
  lines = profiling.described(found, most=1).splitlines()
  assert len(lines) == 3 and lines[1].startswith(found[0].name)
  assert lines[2].startswith(f"{len(found) - 1} others")
  shares = [float(line.split()[-1].rstrip("%")) for line in lines[1:]]
  assert sum(shares) == pytest.approx(100, abs=0.2)


def test_python_is_left_out(folder):
  """Its calls would be most of the trace; jax gives them names with a dollar."""
  (trace,) = folder.rglob("*.xplane.pb")
  planes = ProfileData.from_file(str(trace)).planes
  names = [
    event.name for plane in planes for line in plane.lines for event in line.events
  ]
  assert names and not any(name.startswith("$") for name in names)


def test_without_a_trace_there_is_nothing_to_say(tmp_path):
  assert profiling.operations(tmp_path) == []
  assert "no operation" in profiling.described([])


def test_the_flag_prints_the_table_and_says_where_the_trace_is(tmp_path):
  workdir = tmp_path / "run"
  (tmp_path / "script.py").write_text(SCRIPT)
  (tmp_path / "config.py").write_text(CONFIG.replace("WORKDIR", repr(str(workdir))))
  ended = subprocess.run(
    [sys.executable, "script.py", "--config=config.py", "--profile"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert "\nfft " in ended.stdout
  assert f"profile: {workdir}-profile" in ended.stdout
  assert list((tmp_path / "run-profile").rglob("*.xplane.pb"))
