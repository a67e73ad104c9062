"""One run on several processes: the same rows, and a restart after one was killed."""

import os
import socket
import subprocess
import time

import pytest
import tiny

from jaxadv import cluster, results
from jaxadv.errors import InputError

DEVICES = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}


def start(command: list[str]) -> subprocess.Popen:
  return subprocess.Popen(
    command,
    cwd=tiny.REPO,
    env=os.environ | DEVICES,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def commands(dataset, victim, folder) -> list[list[str]]:
  """Of two processes that find each other on a free port."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  return [
    tiny.attack(
      dataset, victim, folder, runtime__distributed=f"localhost:{port},2,{index}"
    )
    for index in range(2)
  ]


def keyed(folder):
  """What a row must not change with where it was computed."""
  fields = ("label", "target", "clean_label", "new_label", "success", "steps")
  return {
    (row["attack"], row["id"]): tuple(row[name] for name in fields)
    for row in results.read(folder)
  }


def test_two_processes_of_two_devices_share_a_run(dataset, victim, attacked, tmp_path):
  folder = tmp_path / "run"
  processes = [start(command) for command in commands(dataset, victim, folder)]
  said = [process.communicate(timeout=400)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], said
  rows = results.read(folder)
  assert keyed(folder) == keyed(attacked[0])
  assert len(rows) == len(keyed(folder))
  # each wrote its own share
  own = {part.stem.split("-")[2:] == ["1"] for part in results.parts(folder)}
  assert own == {True, False}
  # the first one tells of all
  assert "Table 2" in said[0] and "Table 2" not in said[1]
  assert (folder / "index.html").exists()


def test_one_is_killed_and_a_restart_finishes(dataset, victim, attacked, tmp_path):
  folder = tmp_path / "run"
  first, second = (start(command) for command in commands(dataset, victim, folder))
  deadline = time.monotonic() + 240
  while not results.parts(folder) and first.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.05)
  second.kill()
  before = keyed(folder)
  first.kill()  # it may wait for the other for minutes, as pods do
  first.communicate(), second.communicate()
  stored = keyed(folder)
  assert stored and before.items() <= stored.items()
  # another number of processes may finish
  tiny.succeed(tiny.attack(dataset, victim, folder))
  assert keyed(folder) == keyed(attacked[0])
  assert len(results.read(folder)) == len(keyed(folder))


@pytest.mark.parametrize("given", ["yes", "host,2,0", "host:1,2,2", "host:1,2"])
def test_an_address_that_is_none(given):
  with pytest.raises(InputError, match=r"give auto, or HOST:PORT,COUNT,INDEX"):
    cluster.join(given)
