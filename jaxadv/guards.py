"""Pre-flight: is the victim one whose robustness an attack can measure?

Some dozens of passes of one small batch, through one compiled program, before any
attack. After Carlini et al., On Evaluating Adversarial Robustness, 2019; Croce and
Hein, Reliable evaluation of adversarial robustness, ICML 2020, and their code's checks;
Pintor et al., Indicators of Attack Failure, NeurIPS 2022.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import losses
from jaxadv.core import Array, Bind, Example
from jaxadv.errors import InputError
from jaxadv.inputs import check_examples
from jaxadv.probe import Flag, Probe
from jaxadv.slopes import check_gradient

_REPEATS = 5  # forward passes with different keys
_SAME = 1e-4  # of the logits' l2 size: answers that differ by less are the same
_PROBABLE = 1e-5  # outputs so far outside [0, 1] may still be probabilities
_SUM = 1e-4  # and their sum so far from 1
_MOVES = (0.1, 1e-3)  # steps of the unlimited attack, in widths of the box
_MOVED = 10  # times each

__all__ = ["Flag", "inspect_victim"]


def inspect_victim(
  bind: Bind,
  params: Any,
  key: Array,
  examples: Example,
  objectives: Sequence[losses.Objective] = (),
) -> list[Flag]:
  """The flags that a victim raises on a few clips; [] for a sound one.

  examples: [B, ...], about 4. objectives: those that will be attacked with; that of
  `bind` by default. InputError for bad input, and for a victim that says no number of
  any; where it does of some, the other guards look at these.
  """
  check_examples(bind, params, key, examples)
  victim = Probe(bind, params, key, examples)
  clean = victim.at()
  broken = ~np.isfinite(clean.logits).all(1)
  said = "the victim returns NaN or infinity for {count}: look for a log or a root of 0"
  not_finite = list(victim.flags("not_finite", broken, said))
  if broken.all():
    raise InputError(not_finite[0].said)
  if not_finite:
    sound = jax.tree.map(lambda leaf: jnp.asarray(leaf)[~broken], examples)
    return not_finite + inspect_victim(bind, params, key, sound, objectives)
  return [
    *_probabilities(victim, clean.logits),
    *_random(victim, clean.logits),
    *_neighbours(victim, clean.logits),
    *check_gradient(victim, clean.logits),
    *_saturated(victim, clean.logits, objectives or (victim.objective,)),
    *_unlimited(victim),
  ]


def _differ(logits, others):
  """[B], the largest difference in units of the logits' l2 size."""
  size = np.maximum(np.linalg.norm(logits, axis=1), 1e-30)
  return np.abs(others - logits).max(1) / size


def _probabilities(victim, logits):
  inside = logits.min() > -_PROBABLE and logits.max() < 1 + _PROBABLE
  summed = (np.abs(logits.sum(1) - 1) < _SUM).all()
  found = inside and (summed or victim.labels)
  yield from victim.flags(
    "probabilities",
    np.full(len(logits), found),
    "the victim returns what looks like probabilities, not logits, for {count}: a loss "
    "would squash them again and hide the gradient; return logits, or lift it with "
    "problem.from_probabilities",
  )


def _random(victim, logits):
  keys = jax.random.split(victim.key, _REPEATS)
  differ = np.max([_differ(logits, victim.at(key=key).logits) for key in keys], axis=0)
  yield from victim.flags(
    "random",
    differ > _SAME,
    f"the answer changes from pass to pass by up to {differ.max():.1g} of the logits' "
    "size for {count}: attack its expectation (problem.expect), else one lucky draw "
    "counts as a success",
  )


def _neighbours(victim, logits):
  alone = jax.tree.map(lambda v: jnp.repeat(v[:1], len(v), 0), victim.examples)
  differ = _differ(logits, victim.at(examples=alone).logits)
  yield from victim.flags(
    "neighbours",
    (differ > _SAME) & (np.arange(len(differ)) == 0),
    f"the answer for a clip changes by {differ[0]:.1g} of the logits' size with its "
    "neighbours in the batch ({count} tried: the first): put the victim into its "
    "evaluation mode",
  )


def _saturated(victim, logits, objectives):
  dead = np.zeros(len(logits), bool)
  for objective in objectives:
    goal = (jnp.float32(logits), victim.examples.label, victim.examples.target)
    grad = jax.jit(jax.vmap(jax.grad(objective.loss)))(*goal)
    dead |= np.asarray(jnp.sum(jnp.abs(grad), axis=1) == 0)
  spread = np.ptp(logits, axis=1).max()
  yield from victim.flags(
    "saturated",
    dead,
    f"the loss has no gradient for {{count}}: logits {spread:.2g} apart saturate it; "
    "attack with loss dlr or margin",
  )


def _unlimited(victim):
  """Gradient steps on the margin with no limit but the box: a sound victim gives in."""
  objective, example = victim.objective, victim.examples
  if objective.targeted:
    objective = losses.untargeted_labels() if victim.labels else losses.untargeted()
  judge = jax.jit(jax.vmap(jax.value_and_grad(objective.margin)))
  low, high = victim.box
  fooled = np.zeros(len(victim.x), bool)
  for move in _MOVES:
    x, logits = victim.x, victim.at().logits
    for _ in range(0 if fooled.all() else _MOVED):
      _, weights = judge(jnp.float32(logits), example.label, example.target)
      grad = np.nan_to_num(victim.at(x - victim.x, weights).grad)
      down = move * (high - low) * np.sign(grad) * victim.mask
      x = np.clip(x - down, low, high).astype(np.float32)
      logits = victim.at(x - victim.x).logits
      margin, _ = judge(jnp.float32(logits), example.label, example.target)
      fooled |= np.asarray(margin) < 0
  yield from victim.flags(
    "unlimited",
    ~fooled,
    f"{_MOVED} gradient steps with no limit but the box leave {{count}} as they are: "
    "the attack does not see this victim's gradient, or does not need it",
  )
