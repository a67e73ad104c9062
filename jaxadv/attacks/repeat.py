"""A lift of attacks with random starts: several runs, one after the other."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxadv.attacks.checks import require
from jaxadv.core import Array, Attack, Trial, where


class RepeatState(NamedTuple):
  trial: Trial
  inner: Any  # the attack's
  taken: Array  # int32 [], steps of this run
  runs: Array  # int32 [], that have ended


def repeat(attack: Attack, runs: int) -> Attack:
  """The attack, begun anew with other random numbers whenever it has ended.

  runs: in all; the first one is the attack's own. The best trial of all of them counts,
  and where the goal is the first success, that ends them all. Without random numbers
  all runs are alike.
  """
  require(runs >= 1, "runs", runs, "at least 1")

  def init(key, problem):
    inner, none = attack.init(key, problem), jnp.int32(0)
    return RepeatState(inner.trial, inner, none, none)

  def step(key, state, problem):
    inner, taken = attack.step(key, state.inner, problem), state.taken + 1
    ended = attack.finished(inner) | (taken >= attack.steps)
    return RepeatState(
      inner.trial,
      where(ended, attack.init(key, problem), inner),
      jnp.where(ended, 0, taken),
      state.runs + ended,
    )

  return attack._replace(
    init=init,
    step=step,
    steps=runs * attack.steps,
    finished=lambda state: state.runs >= runs,
  )
