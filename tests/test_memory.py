"""How many lanes are chosen, from bytes alone."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv import memory

BYTES = st.integers(1, 2**40)


@given(needed=BYTES, lanes=st.integers(1, 512), free=BYTES)
def test_as_many_lanes_as_fit_and_no_more(needed, lanes, free):
  fitting = memory.lanes_that_fit(needed, lanes, free)
  each = needed / lanes
  assert fitting == 1 or fitting * each <= 0.8 * free * (1 + 1e-9)
  assert (fitting + 1) * each > 0.8 * free * (1 - 1e-9)


def test_an_unknown_need_changes_nothing():
  assert memory.lanes_that_fit(0, 7, 10**9) == 7


def test_the_compiler_says_what_a_program_needs():
  program = jax.jit(lambda x: (x @ x).sum()).lower(jnp.ones((512, 512))).compile()
  assert 2**20 <= memory.needed_bytes(program) <= 3 * 2**20


def test_free_memory_is_shared_by_the_devices_of_a_cpu():
  free = memory.free_bytes(jax.devices()[0])
  assert 2**20 < free < 2**40
  with open("/proc/meminfo") as lines:
    total = 1024 * int(next(x for x in lines if x.startswith("MemTotal")).split()[1])
  assert free * jax.local_device_count() < total


def test_long_clips_get_fewer_lanes():
  assert memory.most_lanes("cpu", 1) == 16
  assert memory.most_lanes("cpu", 5) == 3
  assert memory.most_lanes("cpu", 99) == 1
  assert memory.most_lanes("gpu", 1) > 16


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_is_freed_stays_mapped():
  script = """
import resource, sys, threading
import numpy as np
from jaxadv import memory
if sys.argv[1] == "keep":
  memory.keep_freed()
def faults():
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
  np.ones(2**24)
  before = faults()
  for _ in range(4):
    np.ones(2**24)
  print(faults() - before)
thread = threading.Thread(target=work)  # as XLA's
thread.start()
thread.join()
"""

  def count(how):
    return int(subprocess.check_output([sys.executable, "-c", script, how]))

  assert 4 * count("keep") < count("leave")


@given(
  lanes=st.integers(1, 512), forward=st.integers(1, 40), backward=st.integers(0, 40)
)
def test_a_step_of_more_passes_gets_fewer_lanes(lanes, forward, backward):
  chosen = memory.lanes_for(lanes, forward, backward)
  rows = max(forward, backward / 2)
  assert chosen == 1 or chosen * rows <= lanes
  assert (chosen + 1) * max(forward, (backward + 1) / 2) > lanes
  assert memory.lanes_for(lanes, 1, 1) == lanes
