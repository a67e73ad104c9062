"""The engine against `solve`: every example once, lazily, on any lanes and devices."""

import functools
import itertools
import types

import jax
import numpy as np
import pytest
from small_victims import Curved, curved, examples, solver

from jaxadv import attacks, drive, engine, lanes, losses, problem
from jaxadv.norms import L2

VICTIM = curved(3)
ATTACK = attacks.pgd(steps=9, step_size=0.1)
THREAT = problem.Threat(L2, 0.5)
COUNT = 11
KEY = jax.random.key(5)


def stack():
  rng = np.random.default_rng(4)
  x = rng.uniform(-0.5, 0.5, (COUNT, VICTIM.hidden.shape[1])).astype(np.float32)
  return examples(x, Curved.logits(VICTIM, x.T).argmax(0))


STACK = stack()
EXAMPLES = [jax.tree.map(lambda v, at=at: v[at], STACK) for at in range(COUNT)]


@functools.cache
def oracle():
  return solver(ATTACK, THREAT, Curved)(VICTIM, STACK, seed=5)


@functools.cache
def compiled(devices: int, lane_count: int, chunk: int, slots: int = 8):
  """Compiled, params, key."""
  driver = drive.driver(
    ATTACK, problem.bind(Curved.logits, THREAT, losses.untargeted())
  )
  held = jax.devices()[:devices]
  placed = engine.replicate((tuple(VICTIM), KEY), held)
  program = engine.compile_lanes(
    driver,
    *placed,
    EXAMPLES[0],
    lanes=lane_count,
    chunk=chunk,
    devices=held,
    slots=slots,
  )
  return program, *placed


SHAPES = pytest.mark.parametrize(
  "devices, lanes, chunk",
  [
    (1, 4, 1),
    (3, 1, 4),
    (4, 5, 2),  # more lanes than examples
  ],
)


def outcomes_of(*program):
  looks = engine.run(*compiled(*program), iter(EXAMPLES))
  return [outcome for look in looks for outcome in look.outcomes]


def test_more_lanes_end_at_once_than_a_refill_fills():
  # without success all four lanes end in the same step
  ended = [len(look.outcomes) for look in engine.run(*compiled(2, 2, 4, 1), EXAMPLES)]
  assert max(ended) > 2 and sum(ended) == COUNT
  few, many = outcomes_of(2, 2, 4, 1), outcomes_of(1, 4, 1)
  assert len({outcome.id for outcome in few}) == COUNT
  for one in few:
    same = next(outcome for outcome in many if outcome.id == one.id)
    assert one.steps == same.steps
    np.testing.assert_allclose(one.best.delta, same.best.delta, atol=1e-6)


def test_the_device_works_while_the_caller_does():
  """A look is yielded with the next step on its way: the last but one needs no call."""
  program, *placed = compiled(1, 4, 1)
  calls = 0

  def advance(*arguments):
    nonlocal calls
    calls += 1
    return program.advance(*arguments)

  steps = 0
  for look in engine.run(program._replace(advance=advance), *placed, iter(EXAMPLES)):
    steps += look.lane_steps // 4
    last = steps == calls
    assert last or calls == steps + 1
  assert last


@SHAPES
def test_rows_are_those_of_solve(devices, lanes, chunk):
  expected = oracle()
  # of any use only where examples take different numbers of steps
  assert len(set(expected.step)) > 2 and 0 < expected.best.success.sum() < COUNT
  looks = list(engine.run(*compiled(devices, lanes, chunk), iter(EXAMPLES)))
  outcomes = [outcome for look in looks for outcome in look.outcomes]
  assert sorted(outcome.id for outcome in outcomes) == list(range(COUNT))
  for outcome in outcomes:
    at = outcome.id
    assert outcome.steps == expected.step[at]
    assert outcome.best.success == expected.best.success[at]
    np.testing.assert_allclose(outcome.best.delta, expected.best.delta[at], atol=1e-5)
    np.testing.assert_allclose(outcome.best.loss, expected.best.loss[at], atol=1e-5)
    np.testing.assert_allclose(outcome.best.size, expected.best.size[at], atol=1e-5)


@SHAPES
def test_the_lane_steps_cover_the_useful_ones(devices, lanes, chunk):
  looks = list(engine.run(*compiled(devices, lanes, chunk), iter(EXAMPLES)))
  useful = sum(outcome.steps for look in looks for outcome in look.outcomes)
  computed = sum(look.lane_steps for look in looks)
  assert useful == oracle().step.sum()
  assert useful <= computed
  assert all(look.lane_steps % (devices * lanes * chunk) == 0 for look in looks)
  if devices * lanes * chunk == 4:
    # a refill at every look leaves only the last examples' lanes idle
    assert computed - useful <= 3 * (ATTACK.steps + 1)
  seconds = sum(outcome.seconds for look in looks for outcome in look.outcomes)
  # the device's time is shared out among the examples, none of it twice
  np.testing.assert_allclose(seconds, sum(look.seconds for look in looks), rtol=1e-6)


def test_examples_are_read_only_as_lanes_become_free():
  drawn = 0

  def count():
    nonlocal drawn
    for example in EXAMPLES:
      drawn += 1
      yield example

  ended, total = 0, 4
  for look in engine.run(*compiled(1, 4, 1), count()):
    ended += len(look.outcomes)
    assert drawn <= total + ended
  assert ended == drawn == COUNT


def test_no_examples_no_looks():
  assert list(engine.run(*compiled(1, 4, 1), iter([]))) == []


def test_a_run_can_be_repeated_on_the_same_program():
  """Donated buffers belong to the lanes, not to the examples of the caller."""
  before = [example.x.copy() for example in EXAMPLES]
  runs = [list(engine.run(*compiled(1, 4, 1), iter(EXAMPLES))) for _ in range(2)]
  first, second = (
    {o.id: o.best.delta for look in looks for o in look.outcomes} for looks in runs
  )
  for at in range(COUNT):
    np.testing.assert_array_equal(first[at], second[at])
    np.testing.assert_array_equal(EXAMPLES[at].x, before[at])


def test_examples_are_on_the_devices_before_the_first_step():
  """Host arrays would be copied to the devices at every step."""
  program, *placed = compiled(4, 5, 2)
  seen = []

  def advance(*arguments):
    for leaf in jax.tree.leaves(arguments):
      seen.append(isinstance(leaf, jax.Array) and len(leaf.devices()) == 4)
    return program.advance(*arguments)

  list(engine.run(program._replace(advance=advance), *placed, iter(EXAMPLES)))
  assert seen and all(seen)


def test_devices_do_not_talk_to_each_other():
  program = compiled(4, 5, 2)[0]
  for part in (program.start, program.advance, program.refill):
    text = part.as_text()
    assert "num_partitions=4" in text or "replica_count=4" in text
    for collective in ("all-reduce", "all-gather", "collective-", "all-to-all"):
      assert collective not in text
  # the words to look for, in a program that does talk
  talking = jax.pmap(lambda x: jax.lax.psum(x, "i"), "i", devices=jax.devices()[:4])
  assert "all-reduce" in talking.lower(np.ones(4)).compile().as_text()


def test_replicate_places_one_whole_copy_on_each_device():
  devices = jax.devices()[:3]
  tree = {"a": np.arange(6.0, dtype=np.float32), "key": jax.random.key(0)}
  placed = engine.replicate(tree, devices)
  assert placed["a"].devices() == set(devices)
  for shard in placed["a"].addressable_shards:
    np.testing.assert_array_equal(shard.data, tree["a"])
  assert placed["key"].devices() == set(devices)


def test_one_step_a_look_on_cpu_and_tuned_elsewhere():
  assert engine.default_chunk(jax.devices()) == 1
  assert engine.default_chunk([types.SimpleNamespace(platform="gpu")]) == engine.TUNED


def test_steps_between_looks_are_tuned_while_a_run_goes_on(monkeypatch):
  """Another chunk is compiled once the first has lost what that takes: here nothing."""
  program, *placed = compiled(1, 4, engine.TUNED)
  looks = list(engine.run(program, *placed, iter(EXAMPLES)))
  assert {look.chunk for look in looks} == {program.chunk} == {8}
  assert sum(look.compiling for look in looks) == 0
  # a clock by which 8 steps take as long as one line of the host's between two looks
  monkeypatch.setattr(engine.time, "perf_counter", itertools.count(0.0, 1e-3).__next__)
  looks = list(engine.run(program._replace(seconds=0.0), *placed, iter(EXAMPLES)))
  assert max(look.chunk for look in looks) > 8
  assert sum(look.compiling for look in looks) > 0
  outcomes = [outcome for look in looks for outcome in look.outcomes]
  assert sorted(outcome.id for outcome in outcomes) == list(range(COUNT))
  for outcome in outcomes:
    assert outcome.steps == oracle().step[outcome.id]
    expected = oracle().best.delta[outcome.id]
    np.testing.assert_allclose(outcome.best.delta, expected, atol=1e-5)


@pytest.mark.parametrize("gap", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("step", [1e-4, 5e-3])
@pytest.mark.parametrize("length", [5, 40, 1000])
def test_the_best_pace_is_that_of_a_simulated_queue(gap, step, length):
  """One lane, examples of random lengths: seconds until the last was seen to end."""
  lengths = np.random.default_rng(0).integers(1, 2 * length, 2000)

  def seconds(chunk):
    looks = -(-lengths // chunk)
    return (looks * (gap + chunk * step)).sum()

  pace = lanes.Pace()
  assert pace.best() == 0 and pace.lost(8) == 0
  pace.looked(lengths.sum(), step * lengths.sum(), gap, lengths.tolist())
  chunks = [1, 2, 4, 8, 16, 32, 64]
  assert seconds(pace.best()) < 1.15 * min(map(seconds, chunks))
  # by its own count nothing else would have lost less
  assert min(map(pace.lost, chunks)) == pytest.approx(0, abs=1e-9)
  assert max(map(pace.lost, chunks)) > 0


def test_the_tail_of_a_queue_runs_on_fewer_lanes(monkeypatch):
  monkeypatch.setattr(engine, "_WASTED_PASSES", 2)
  looks = list(engine.run(*compiled(2, 8, 1), iter(EXAMPLES)))
  outcomes = [outcome for look in looks for outcome in look.outcomes]
  expected = oracle()
  assert sorted(outcome.id for outcome in outcomes) == list(range(COUNT))
  for outcome in outcomes:
    at = outcome.id
    assert outcome.steps == expected.step[at]
    np.testing.assert_allclose(outcome.best.delta, expected.best.delta[at], atol=1e-5)
  lanes = [look.lane_steps for look in looks if look.outcomes]
  useful = int(expected.step.sum())
  # 16 lanes throughout would be a multiple of that many a step
  assert useful <= sum(lanes) < 16 * max(expected.step)
  assert sum(look.compiling for look in looks) > 0
  seconds = sum(outcome.seconds for outcome in outcomes)
  np.testing.assert_allclose(seconds, sum(look.seconds for look in looks), rtol=1e-6)
