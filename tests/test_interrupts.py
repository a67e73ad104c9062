"""Outcomes become rows once each, whatever interrupts."""

import pytest

from jaxadv import attack_run, engine, ensemble


class Rows:
  """Stands for a Recorder: keeps the ids that it was given, in batches of 2."""

  batch = 2

  def __init__(self, interrupted_at=None):
    self.ids, self._left = [], interrupted_at

  def store(self, finished):
    self.ids += [one.job for one in finished]
    assert 0 < len(finished) <= self.batch
    if self._left is not None:
      self._left -= 1
      if self._left == 0:
        raise KeyboardInterrupt  # after the rows were written
    return [{} for _ in finished]


def looks(ids, interrupted=False):
  def outcome(at):
    return engine.Outcome(at, 1, None, None, 0.0)

  # one look with more outcomes than a batch, as several devices give
  found = [ensemble.Found(0, outcome(at), ensemble.Cost(), None) for at in ids]
  yield engine.Look(tuple(map(outcome, ids)), len(ids), 0.0, 0.0), found
  if interrupted:
    raise KeyboardInterrupt


def drain(rows, source, count):
  held = {at: (at, None, 0) for at in range(count)}
  return list(attack_run.record(source, rows, held, attack_run.Usage()))


def test_all_are_stored_once():
  rows = Rows()
  assert [len(b) for b in drain(rows, looks(range(5)), 5)] == [2, 2, 1]
  assert rows.ids == list(range(5))


def test_an_interrupt_stores_what_is_pending():
  rows = Rows()
  with pytest.raises(KeyboardInterrupt):
    drain(rows, looks(range(3), interrupted=True), 3)
  assert rows.ids == [0, 1, 2]


def test_an_interrupt_while_storing_doubles_nothing():
  rows = Rows(interrupted_at=1)
  with pytest.raises(KeyboardInterrupt):
    drain(rows, looks(range(5)), 5)
  assert rows.ids == list(range(5))
