"""One run on several processes: the same rows, and a restart after one was killed."""

import os
import socket
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import tiny

from jaxadv import cluster, results
from jaxadv.errors import InputError

DEVICES = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
# a script, with a dead process missed after 10 s in place of 100
HASTY = [
  sys.executable,
  "-c",
  "import functools, jax, runpy, sys;"
  "jax.distributed.initialize = functools.partial("
  "  jax.distributed.initialize, heartbeat_timeout_seconds=10);"
  "sys.argv = sys.argv[1:];"
  "runpy.run_path(sys.argv[0], run_name='__main__')",
]
LATE = """
import sys, time
from jaxadv import cluster
index, count = cluster.join(f"{sys.argv[1]},2,{sys.argv[2]}")
time.sleep(33 * index)
print("gone:", cluster.wait_for_all())
"""


def start(command: list[str]) -> subprocess.Popen:
  return subprocess.Popen(
    command,
    cwd=tiny.REPO,
    env=os.environ | DEVICES,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def free_address() -> str:
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return f"localhost:{probe.getsockname()[1]}"


def commands(dataset, victim, folder) -> list[list[str]]:
  """Of two processes that find each other on a free port."""
  address = free_address()
  return [
    tiny.attack(dataset, victim, folder, runtime__distributed=f"{address},2,{index}")
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
  first, second = (
    start([*HASTY, *command[1:]]) for command in commands(dataset, victim, folder)
  )
  deadline = time.monotonic() + 240
  while not results.parts(folder) and first.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.05)
  second.kill()
  before = keyed(folder)
  said = first.communicate(timeout=240)[0]
  second.communicate()
  # the first goes on to the end of its share, and says what is missing
  assert first.returncode == 2, said
  assert "process 1 of 0 to 1 ended before its share was done" in said
  assert "Traceback" not in said and "Table 2" in said
  stored, everything = keyed(folder), keyed(attacked[0])
  own = [part for part in results.parts(folder) if part.stem.split("-")[2:] != ["1"]]
  assert sum(len(pq.read_table(part)) for part in own) >= len(everything) // 2
  assert before.items() <= stored.items() < everything.items()
  # another number of processes may finish
  tiny.succeed(tiny.attack(dataset, victim, folder))
  assert keyed(folder) == everything
  assert len(results.read(folder)) == len(everything)


def test_a_slow_process_is_waited_for():
  """Longer than the 30 s after which collectives on a CPU give up."""
  address = free_address()
  processes = [start([sys.executable, "-c", LATE, address, str(n)]) for n in range(2)]
  said = [process.communicate(timeout=120)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], said
  assert all("gone: set()" in one for one in said), said


@pytest.mark.parametrize("given", ["yes", "host,2,0", "host:1,2,2", "host:1,2"])
def test_an_address_that_is_none(given):
  with pytest.raises(InputError, match=r"give auto, or HOST:PORT,COUNT,INDEX"):
    cluster.join(given)
