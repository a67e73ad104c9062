"""Auto-PGD towards one class after another: untargeted, as AutoAttack's APGD-T."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.attacks.apgd import Run, descent
from jaxadv.attacks.checks import require
from jaxadv.core import FIRST_SUCCESS, Array, Attack, Trial, unjudged, where
from jaxadv.losses import dlr_targeted


class APGDTargetedState(NamedTuple):
  trial: Trial
  run: Run
  towards: Array  # int32 [R], the classes that the runs aim at
  turn: Array  # int32 [], which of them; -1: the clean clip


def apgd_targeted(
  *, steps: int = 100, targets: int = 9, rho: float = 0.75, shrink: bool = False
) -> Attack:
  """Untargeted: a run of `apgd` on the targeted DLR loss for each of several classes.

  Each run starts at random and goes down `losses.dlr_targeted`; trials report the loss
  and success of the problem, any label but the true one. The classes: those with the
  `targets` largest logits of the clean clip, the label apart, all of them where there
  are fewer.
  steps: gradient steps; steps + 1 points are judged in each run, and the clean clip
  before the first; rho, shrink: as of `apgd`. InputError for victims with fewer than 4
  classes.
  Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of
  diverse parameter-free attacks, ICML 2020, sections 4.2 and 5.
  """
  require(targets >= 1, "targets", targets, "at least 1")
  descend = descent(steps, rho, shrink)

  def init(key, problem):
    count = jax.eval_shape(problem.logits, problem.zero).shape[0]
    towards = jnp.zeros(min(targets, count - 1), jnp.int32)
    run = descend.start(key, problem)._replace(candidate=problem.zero)
    return APGDTargetedState(unjudged(problem), run, towards, jnp.int32(-1))

  def step(key, state, problem):
    label = problem.example.label
    target = state.towards[jnp.maximum(state.turn, 0)]

    def loss(delta):
      logits = problem.logits(delta)
      return dlr_targeted(logits, label, target), (problem.judge(delta, logits), logits)

    found = jax.value_and_grad(loss, has_aux=True)(state.run.candidate)
    (value, (trial, logits)), grad = found
    trial, grad = problem.checked(trial, grad)
    others = jnp.where(jnp.arange(logits.size) == label, -jnp.inf, logits)
    ranked = jax.lax.top_k(others, state.towards.size)[1]
    clean = state.turn < 0
    run, counted = descend.advance(state.run, trial, value, grad, problem)
    over = clean | descend.over(run)
    return APGDTargetedState(
      where(clean, trial, counted),
      where(over, descend.start(key, problem), run),
      jnp.where(clean, ranked, state.towards),
      state.turn + over,
    )

  return Attack(
    init,
    step,
    1 + targets * descend.points,
    FIRST_SUCCESS,
    targetable=False,
    norms=("l1", "l2", "linf"),
    label_sets=False,
    finished=lambda state: state.turn >= state.towards.size,
  )
