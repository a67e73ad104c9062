"""Bad input of an attack, one sentence each: examples, threat, objective, answer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.core import Array, Attack, Bind, Example, Problem
from jaxadv.errors import InputError
from jaxadv.norms import NORMS

_ROUNDING = 1e-6  # samples may be so far outside the box


def check_examples(
  bind: Bind, params: Any, key: Array, examples: Example, attack: Attack | None = None
) -> None:
  """InputError for what no attack can use, or would use without a word.

  examples: [B, ...]. Looked at are clips, masks, labels, targets, the radius of each,
  the box, and the shape of what the victim says, for which it is traced and not run.
  attack: whether a radius is needed, its norms, and whether it has a targeted form and
  one for sets of labels.
  """
  if not len(examples.x):
    raise InputError("there is no example to attack: give at least one")
  first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], examples)
  problem = bind(params, key, first)
  if problem.objective.targeted and attack is not None and not attack.targetable:
    raise InputError("this attack has no targeted form: give an untargeted objective")
  if np.ndim(examples.label) > 1 and attack is not None and not attack.label_sets:
    raise InputError(
      "this attack goes from one label to another, and each example has a set of "
      "labels: give another attack, such as pgd, bim, apgd, fab or carlini_wagner"
    )
  named = [name for name, norm in NORMS.items() if norm == problem.norm]
  if attack is not None and attack.norms and named and named[0] not in attack.norms:
    raise InputError(
      f"this attack is not for {named[0]}: it is defined for "
      f"{' and '.join(attack.norms)}"
    )
  # what a sample is outside the box by, it would be moved by for nothing
  slack = 0.0 if problem.norm.quantum else _ROUNDING
  _check_clips(examples, problem.box, slack)
  radii = jax.vmap(lambda example: bind(params, key, example).radius)(examples)
  _check_radii(examples, np.asarray(radii), problem.norm.quantum, attack)
  _check_labels(examples, problem)


def _refuse(examples: Example, wrong: Any, said: str) -> None:
  """said: of the first wrong example; {id} and {more} are filled in."""
  ids = np.asarray(examples.id)[np.broadcast_to(wrong, len(examples.x))]
  if ids.size:
    more = f" (and {ids.size - 1} more)" if ids.size > 1 else ""
    raise InputError(said.format(id=f"example {ids[0]}{more}"))


def _flat(leaf) -> np.ndarray:
  return np.asarray(leaf).reshape(len(leaf), -1)


def _check_clips(examples, box, slack):
  low, high = box
  if not (low < high and np.isfinite([low, high]).all()):
    raise InputError(f"the box is {box}: give a finite (low, high) with low < high")
  x, mask = _flat(examples.x), _flat(examples.mask)
  _refuse(
    examples,
    ~np.isfinite(x).all(1),
    "{id} holds NaN or infinite samples: repair it, or leave it out",
  )
  reach = x.min(1), x.max(1)
  outside = (reach[0] < low - slack) | (reach[1] > high + slack)
  at = outside.argmax()
  _refuse(
    examples,
    outside,
    f"{{id}} spans {reach[0][at]:g} to {reach[1][at]:g} and the box is [{low:g}, "
    f"{high:g}]: scale the clip, or give the box of your data (Threat(box=...))",
  )
  _refuse(
    examples,
    ~(mask != 0).any(1),
    "{id} has a mask that allows nothing: set it to 1 where the attacker may write",
  )
  _refuse(
    examples,
    ~((mask == 0) | (mask == 1)).all(1),
    "{id} has a mask of other values than 0 and 1: set it to 1 where the attacker may "
    "write",
  )


def _check_radii(examples, radii, quantum, attack):
  wrong = ~(radii > 0)  # NaN too
  _refuse(
    examples,
    wrong,
    f"{{id}} has the radius {radii[wrong.argmax()]:g}: give more than 0 (a budget "
    "relative to a silent clip is 0)",
  )
  less = radii < quantum
  _refuse(
    examples,
    less,
    f"{{id}} has the radius {radii[less.argmax()]:g}, and sizes in this norm are "
    f"multiples of {quantum:g}: give at least {quantum:g}",
  )
  if attack is not None and attack.needs_radius:
    _refuse(
      examples,
      ~np.isfinite(radii),
      "{id} has no radius, and this attack fills its budget: give a finite radius",
    )


def _traced(function, *arguments) -> jax.ShapeDtypeStruct | None:
  """Shape and dtype of an array that a function returns; None where it can't."""
  try:
    said = jax.eval_shape(function, *arguments)
  except (TypeError, ValueError, IndexError) as error:
    if isinstance(error, InputError):
      raise
    return None
  return said if isinstance(said, jax.ShapeDtypeStruct) else None


def _check_labels(examples: Example, problem: Problem) -> None:
  objective, (label, target) = problem.objective, problem.example[3:5]
  said = jax.eval_shape(problem.logits, problem.zero)
  if not isinstance(said, jax.ShapeDtypeStruct) or not jnp.issubdtype(
    said.dtype, jnp.floating
  ):
    raise InputError(
      f"the victim returns {said}: logits_fn(params, x [...]) must return one float "
      "array [classes]"
    )
  sets = jax.ShapeDtypeStruct(said.shape, jnp.int32)
  taken = _traced(objective.loss, said, sets, sets)
  if said.ndim == 1 and label.ndim == 0 and taken is not None and taken.shape == ():
    raise InputError(
      "the objective is of label sets and each example has one label: give labels "
      f"[B, {said.shape[0]}] of 0 and 1, or losses.untargeted()"
    )
  scalars = [
    _traced(function, said, label, target)
    for function in (objective.loss, objective.margin)
  ]
  if any(scalar is None or scalar.shape != () for scalar in scalars) or (
    said.ndim == 1 and label.ndim == 1 and label.shape != said.shape
  ):
    raise InputError(
      f"the victim returns the shape {list(said.shape)} for one clip and its label has "
      f"{list(label.shape)}: logits_fn(params, x [...]) must return [classes], the "
      "label be one number, or [classes] with losses.untargeted_labels()"
    )
  if said.ndim == 1:
    _check_range(examples, said.shape[0], objective.targeted)


def _check_range(examples, classes, targeted):
  label, target = _flat(examples.label), _flat(examples.target)
  single = np.ndim(examples.label) == 1
  low, high = (0, classes - 1) if single else (-1, 1)
  if not single and targeted and target.shape != label.shape and (target >= 0).any():
    raise InputError(
      f"the labels are sets {list(label.shape)} and the targets are "
      f"{list(np.shape(examples.target))}: give a set of 1, 0 and -1 (no matter) for "
      "each example"
    )
  if single and classes < 2:
    raise InputError("the victim has one class: a label can't change; give at least 2")
  _refuse(
    examples,
    ((label < low) | (label > high)).any(1),
    f"{{id}} has a label outside {low} to {high}: the victim has {classes} classes",
  )
  if not targeted:
    return
  _refuse(
    examples,
    (target < 0).all(1),
    "{id} has no target and the objective is targeted: give targets to "
    "core.examples, or losses.untargeted()",
  )
  _refuse(
    examples,
    ((target < low) | (target > high)).any(1),
    f"{{id}} has a target outside {low} to {high}: the victim has {classes} classes",
  )
  _refuse(
    examples,
    ((target == label) | (target < 0)).all(1),
    "{id} has its true label as target: give another target",
  )


def check_answers(examples: Example, loss: Any, steps: Any) -> None:
  """InputError where no loss of an example was a number. loss: best, [B]; steps: [B].

  Costs nothing: the best loss stays infinite where every loss was NaN.
  """
  _refuse(
    examples,
    (np.asarray(loss) == np.inf) & (np.asarray(steps) > 0),
    "the victim returns NaN or infinity for {id} and all that the attack tried: look "
    "for a log or a root of 0 in it",
  )
