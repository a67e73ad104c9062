"""A run's lanes: compiled once for each bucket, halved where memory is full."""

from pathlib import Path

import jax
import pytest
import tiny

from jaxadv import engine, results

_COMPILED: list[str] = []


def _listen(event, seconds, **facts):
  if event == "/jax/core/compile/backend_compile_duration":
    _COMPILED.append(facts["fun_name"])


jax.monitoring.register_event_duration_secs_listener(_listen)


@pytest.fixture
def run(dataset, victim, tmp_path, capsys):
  """A run on 7 clips of one chunk and one of two, on four devices: (end, rows)."""

  def run(**changes):
    values = {"data__split": "train", "data__classes": "high", "runtime__only": "pgd"}
    values |= {"runtime__guards": False, "attacks__pgd__steps": 3}
    command = tiny.attack(dataset, victim, tmp_path / "run", **values | changes)
    return tiny.call(command, capsys), results.read(tmp_path / "run")

  return run


def maps() -> int:
  return len(Path("/proc/self/maps").read_text().splitlines())


def test_three_programs_for_each_bucket(run):
  _COMPILED.clear()
  jax.clear_caches()
  before = maps()
  ended, rows = run(runtime__lane_chunks=0)
  assert ended.code == 0, ended.err
  assert "Where the time went" in ended.out and len(rows) == 8
  # start, advance and refill are pmapped, which names them so; two buckets
  assert _COMPILED.count("jit(_fun)") == 6
  # Linux allows a process 65,530: those of six programs must not stay
  assert maps() < before + 300


def test_a_full_memory_halves_the_lanes(run, monkeypatch):
  ran, step = [], engine.run

  def full(compiled, *arguments):
    ran.append(compiled.shape)
    looks = step(compiled, *arguments)
    if compiled.shape[1] > 1:
      yield next(looks)  # some are done before
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    yield from looks

  monkeypatch.setattr(engine, "run", full)
  ended, rows = run(runtime__lane_chunks=4)
  assert ended.code == 0, ended.err
  # 7 clips on 4 devices; the next bucket begins with what was left
  assert ran == [(4, 2), (4, 1), (4, 1)]
  assert "memory is full with 2 lanes" in ended.out
  assert len(rows) == len({row["id"] for row in rows}) == 8


def test_one_lane_that_does_not_fit_ends_the_run(run, monkeypatch):
  def full(*arguments):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    yield

  monkeypatch.setattr(engine, "run", full)
  ended, rows = run(runtime__lane_chunks=1)
  assert ended.code == 3 and "memory is full" in ended.err
  assert "Traceback" not in ended.err and not rows
