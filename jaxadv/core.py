"""The nouns of the engine: Example, Trial, Problem, Attack, Goal."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxadv.errors import InputError
from jaxadv.losses import Objective
from jaxadv.norms import Norm

Array = jax.Array


class Example(NamedTuple):
  """One clip, on the host (numpy) or in a lane."""

  id: Any  # int32 []; folds into the random keys; -1 marks an idle lane
  x: Any  # float32 [...], what is attacked
  mask: Any  # float32 [...], 1 where the attacker may write (padding is 0)
  label: Any  # int32 []; multi-hot [K] where the victim has many labels
  target: Any  # int32 []; -1: untargeted; or [K]: 1 wanted, 0 unwanted, -1 no matter
  other: tuple = ()  # what the victim hears besides x, and is not attacked (a video)
  start: Any = ()  # [...], a clip of the wanted class, for attacks that begin there


def examples(
  x: Any,
  label: Any,
  target: Any = -1,
  mask: Any = 1.0,
  other: tuple = (),
  start: Any = (),
) -> Example:
  """A batch of Examples with ids from 0: for `drive.solve_batch` and users' own loops.

  x: [B, ...] within the box. label, target: [B], [B, K], or one number for all. mask:
  [B, ...] or one. other: arrays [B, ...]. start: [B, ...] or (). InputError for labels
  or targets of another length.
  """
  x, count = jnp.asarray(x, jnp.float32), len(x)

  def number(value):
    value = jnp.asarray(value, jnp.int32)
    if value.ndim and len(value) != count:
      raise InputError(
        f"{count} examples have labels or targets of shape {list(value.shape)}: give "
        f"[{count}], [{count}, classes], or one number for all"
      )
    return value if value.ndim > 1 else jnp.broadcast_to(value, (count,))

  mask = jnp.broadcast_to(jnp.asarray(mask, jnp.float32), x.shape)
  ids = jnp.arange(count, dtype=jnp.int32)
  return Example(ids, x, mask, number(label), number(target), other, start)


class Trial(NamedTuple):
  """A perturbation and what the victim said of it."""

  delta: Array  # [...]
  loss: Array  # [], attacks go down
  success: Array  # bool []
  size: Array  # [], in the threat's norm
  # of the gradient taken here, by `Problem.gauge`; NaN: not finite, 0: none, inf: not
  # asked for
  grad_size: Array


def tie_break(logits: Array) -> Array:
  """A lead next to none, for steps that scale with the lead. [K] -> []."""
  largest = jnp.max(jnp.where(jnp.isfinite(logits), jnp.abs(logits), 0.0))
  return 1e-6 * jnp.where(largest > 0, largest, 1.0)


class Problem(NamedTuple):
  """All that an attack may know of its victim during one step.

  lead: what `margin` says in place of the objective's, of the same sign; `survey` sets
    it. gauge: how large a gradient is, 0 for none.
  """

  example: Example
  norm: Norm
  radius: Array | float  # [], the float inf: no budget
  box: tuple[float, float]
  objective: Objective
  logits: Callable[[Array], Array]  # delta [...] -> [K]; zero gradient outside the mask
  lead: Callable[[Array], Array] | None = None  # [K] -> []
  gauge: Callable[[Array], Array] = lambda grad: jnp.sum(jnp.abs(grad))  # [...] -> []

  @property
  def zero(self) -> Array:
    return jnp.zeros_like(self.example.x)

  @property
  def bounds(self) -> tuple[Array, Array]:
    """The smallest and the largest delta that mask and box allow. [...], [...]."""
    x, mask = self.example.x, self.example.mask
    return (self.box[0] - x) * mask, (self.box[1] - x) * mask

  def fit(self, delta: Array) -> Array:
    """The nearest perturbation inside mask and box. [...] -> [...]."""
    x = self.example.x
    return (jnp.clip(x + delta, *self.box) - x) * self.example.mask

  def project(self, delta: Array) -> Array:
    """Into the ball, mask and box; x must be in the box. [...] -> [...]."""
    return self.fit(self.norm.project(delta, self.radius, *self.bounds))

  def random_start(self, key: Array) -> Array:
    """A random perturbation in ball, mask and box, for a descent. key -> [...].

    Uniform in the ball; in l1 in that of about the square root of the coordinates, at
    random: of a ball shared among all of them none gets what makes a difference, and of
    one or two the descent does not get away (BUILD.md, "Where descents begin").
    """
    k_mask, k_point = jax.random.split(key)
    mask = self.example.mask
    if self.norm.sparse:
      share = jnp.maximum(jnp.sum(mask), 1.0) ** -0.5
      mask = mask * jax.random.bernoulli(k_mask, share, mask.shape)
    return self.fit(self.norm.sample(k_point, mask) * self.radius)

  def margin(self, logits: Array) -> Array:
    """Below `-objective.confidence` where the attack won. [K] -> []."""
    if self.lead is not None:
      return self.lead(logits)
    return self.objective.margin(logits, self.example.label, self.example.target)

  def judge(self, delta: Array, logits: Array) -> Trial:
    """The Trial of a perturbation whose logits are known. [...], [K] -> Trial."""
    goal = (logits, self.example.label, self.example.target)
    loss, success = self.objective.loss(*goal), self.objective.success(*goal)
    return Trial(delta, loss, success, self.norm.size(delta), jnp.float32(jnp.inf))

  def checked(self, trial: Trial, grad: Array) -> tuple[Trial, Array]:
    """The trial with its gradient's size; the gradient, 0 where it is not finite.

    Every gradient that a step takes goes through here, so that the driver can count
    those that were NaN and those that were 0. Trial, [...] -> Trial, [...].
    """
    size = self.gauge(grad)
    size = jnp.where(jnp.isfinite(size), size, jnp.nan)
    return trial._replace(grad_size=size), jnp.nan_to_num(grad, posinf=0.0, neginf=0.0)

  def evaluate(self, delta: Array) -> Trial:
    """One forward pass. [...] -> Trial."""
    return self.judge(delta, self.logits(delta))

  def evaluate_with_grad(self, delta: Array) -> tuple[Trial, Array]:
    """One forward and one backward pass. [...] -> Trial, gradient of its loss [...]."""

    def loss(delta):
      trial = self.evaluate(delta)
      return trial.loss, trial

    (_, trial), grad = jax.value_and_grad(loss, has_aux=True)(delta)
    return self.checked(trial, grad)


Bind = Callable[[Any, Array, Example], Problem]  # params, key, example -> Problem


def where(pred: Array, new: Any, old: Any) -> Any:
  """Leaf by leaf, `new` where `pred` [] holds."""
  return jax.tree.map(lambda n, o: jnp.where(pred, n, o), new, old)


class Goal(NamedTuple):
  """When a trial is better, and when it is good enough to stop.

  better: new Trial, old Trial -> bool []. enough: best Trial -> bool [].
  FIRST_SUCCESS stops at any; SMALLEST looks for the smallest success, STRONGEST for the
  success with the lowest loss, both to the attack's end.
  """

  better: Callable[[Trial, Trial], Array]
  enough: Callable[[Trial], Array]


def _success_then(key: Callable[[Trial], Array]):
  def better(new, old):
    return jnp.where(new.success == old.success, key(new) < key(old), new.success)

  return better


def _smaller(new, old):
  # failures are ranked by loss: what came nearest is kept where nothing succeeded
  size = jnp.where(new.success, new.size < old.size, new.loss < old.loss)
  return jnp.where(new.success == old.success, size, new.success)


FIRST_SUCCESS = Goal(_success_then(lambda t: t.loss), lambda best: best.success)
SMALLEST = Goal(_smaller, lambda best: best.success & (best.size == 0))
STRONGEST = Goal(_success_then(lambda t: t.loss), lambda best: jnp.bool_(False))
GOALS = {
  "first_success": FIRST_SUCCESS,
  "smallest": SMALLEST,
  "strongest": STRONGEST,
}


class Attack(NamedTuple):
  """A method, written for ONE example.

  init: key, Problem -> state. Never runs the victim.
  step: key, state, Problem -> state. Runs the victim forward once; `state.trial` is
    the Trial of the point that was judged, with a loss of inf and no success where that
    must not win. A score-based method runs one batch of `forward_passes` queries.
  steps: the most steps it may take.
  goal: what its trials are ranked by, unless the user says otherwise.
  backward_passes: per step; 0: score-based, never sees a gradient.
  per_rival: these are one for each rival, of which a target (or a set of labels) leaves
    one, and a victim of few classes fewer.
  forward_passes: per step.
  needs_start: it begins at `Example.start`.
  descends_margin: its steps take the gradient of `Problem.margin`, and it judges the
    clean clip first, so that `survey` can show it the nearest boundary.
  needs_radius: it fills the budget; a minimum-norm attack works without one.
  targetable: it has a targeted form.
  label_sets: it works where an example has a set of labels.
  norms: names of the norms that it is defined for; () for all.
  finished: state -> bool []; True where further steps are pointless.
  """

  init: Callable[[Array, Problem], Any]
  step: Callable[[Array, Any, Problem], Any]
  steps: int
  goal: Goal
  backward_passes: int = 1
  needs_radius: bool = True
  targetable: bool = True
  label_sets: bool = True
  norms: tuple[str, ...] = ()
  finished: Callable[[Any], Array] = lambda state: jnp.bool_(False)
  forward_passes: int = 1
  needs_start: bool = False
  descends_margin: bool = False
  per_rival: bool = False

  def against(self, classes: int, targeted: bool) -> "Attack":
    """With the passes that a step takes with a victim of so many classes."""
    rivals = 1 if targeted else classes - 1
    most = self.forward_passes * rivals  # which are more than 1 with draws
    few = self.per_rival and most < self.backward_passes
    return self._replace(backward_passes=most) if few else self


def unjudged(problem: Problem) -> Trial:
  """The Trial that any other beats."""
  infinity = jnp.float32(jnp.inf)
  return Trial(problem.zero, infinity, jnp.bool_(False), infinity, infinity)
