"""Broken defences raise their flag, a sound victim none; bad input is one sentence.

Over 300 lines: one victim and its clips serve both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.custom_batching import custom_vmap
from small_victims import Curved, Linear, curved, linear

from jaxadv import core, drive, guards, losses, norms, problem
from jaxadv.attacks import deepfool, jsma, pgd, white_noise
from jaxadv.errors import InputError

VICTIM = curved(3, classes=4, n=12)
THREAT = problem.Threat(norms.LINF, 0.1)
KEY = jax.random.key(0)
X = np.random.default_rng(1).uniform(-0.5, 0.5, (4, 12)).astype(np.float32)
LABEL = Curved.logits(VICTIM, X.T).argmax(0)


def says(params: Any, x: Any) -> Any:
  return Curved.logits(params, x)


def flags(
  logits: Callable, objective=None, examples=None, bind=problem.bind, **inspect
):
  """Names -> flags that a victim raises."""
  bound = bind(logits, THREAT, objective or losses.untargeted())
  batch = core.examples(X, LABEL) if examples is None else examples
  found = guards.inspect_victim(bound, VICTIM, KEY, batch, **inspect)
  assert len({flag.name for flag in found}) == len(found)
  return {flag.name: flag for flag in found}


@jax.custom_vjp
def doubled(x):
  return x


doubled.defvjp(lambda x: (x, None), lambda _, grad: (2 * grad,))


@custom_vmap
def less_the_batch(x):
  return x


@less_the_batch.def_vmap
def _(axis_size, in_batched, x):
  return (x - x.mean(0) if in_batched[0] else x), in_batched[0]


@jax.custom_vjp  # a custom_vmap has no gradient
def in_training_mode(x):
  return less_the_batch(x)


in_training_mode.defvjp(lambda x: (less_the_batch(x), None), lambda _, grad: (grad,))


def rounded(x):
  return jnp.round(x * 8) / 8


BROKEN = {
  "rounding": lambda p, x: says(p, rounded(x)),
  "gradient_stopped": lambda p, x: says(p, jax.lax.stop_gradient(x)),
  "probabilities": lambda p, x: jax.nn.softmax(says(p, x)),
  "saturated": lambda p, x: 1e4 * says(p, x),
  "gradient_wrong": lambda p, x: says(p, doubled(x)),
  "gradient_nan": lambda p, x: says(p, x) + jnp.sqrt(jnp.sum(0 * x)),
  "gradient_zero": lambda p, x: says(p, 0 * x) + jnp.arange(4.0),
  # nothing is wrong with its gradient, and no perturbation can fool it
  "unlimited": lambda p, x: says(p, x) + 40 * jax.nn.one_hot(0, 4),
}


def test_a_sound_victim_raises_none():
  assert flags(says) == {}
  assert flags(lambda p, x: says(p, x) - 300.0) == {}
  assert flags(says, losses.targeted(), core.examples(X, LABEL, (LABEL + 1) % 4)) == {}
  steep = linear(0, 4, 12)
  label = (X @ steep.weights.T + steep.offset).argmax(1)
  bound = problem.bind(Linear.logits, THREAT, losses.untargeted(losses.dlr))
  assert not guards.inspect_victim(bound, steep, KEY, core.examples(X, label))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_defence_raises_its_flag(name):
  label = 0 if name == "unlimited" else LABEL
  raised = flags(BROKEN[name], examples=core.examples(X, label))
  assert raised[name].examples == (0, 1, 2, 3)
  assert "4 of 4 clips" in raised[name].said
  blind = name == "rounding" or name.startswith("gradient_")
  # and no other, but that gradient steps don't fool whom they can't see
  assert set(raised) - {name} <= ({"unlimited"} if blind else set())


def test_a_random_victim_raises_its_flag():
  def logits(params, key, x):
    return says(params, x + 0.01 * jax.random.normal(key, x.shape))

  assert set(flags(logits, bind=problem.bind_random)) == {"random"}
  faint = lambda p, key, x: says(p, x) + 1e-6 * jax.random.normal(key, (4,))  # noqa: E731
  assert flags(faint, bind=problem.bind_random) == {}


def test_an_answer_that_depends_on_the_neighbours_raises_its_flag():
  raised = flags(lambda p, x: in_training_mode(says(p, x)))
  assert raised["neighbours"].examples == (0,)


def test_a_victim_that_returns_nan_is_refused_before_any_attack():
  loud = lambda p, x: says(p, x) + jnp.log(0.4 - jnp.max(jnp.abs(x)))  # noqa: E731
  assert np.sum(np.abs(X).max(1) > 0.4) == 4
  with pytest.raises(InputError, match=r"NaN or infinity for 4 of 4 clips"):
    flags(loud)


def test_what_it_has_an_answer_to_is_looked_at_alone():
  """Two clips with no answer are listed; the other two still raise what they raise."""
  x = X * np.array([[0.5], [1.0], [0.5], [1.0]], np.float32)
  batch = core.examples(x, Curved.logits(VICTIM, x.T).argmax(0))
  silent = lambda x: jnp.log(0.06 - jnp.mean(x**2)) * 0  # noqa: E731
  raised = flags(lambda p, x: says(p, x) + silent(x), examples=batch)
  # no answer to what steps without a limit find either
  assert set(raised) - {"unlimited"} == {"not_finite"}
  assert raised["not_finite"].examples == (1, 3)
  assert "2 of 4 clips" in raised["not_finite"].said
  stopped = lambda p, x: says(p, jax.lax.stop_gradient(x)) + silent(x)  # noqa: E731
  raised = flags(stopped, examples=batch)
  assert raised["not_finite"].examples == (1, 3)
  assert raised["gradient_stopped"].examples == (0, 2)


def test_only_the_clips_that_are_wrong_are_listed():
  def loud(params, x):  # the gradient is lost where a clip is loud
    heard = jnp.where(jnp.max(jnp.abs(x)) > 0.4, jax.lax.stop_gradient(x), x)
    return says(params, heard)

  x = X * np.array([[0.5], [1.0], [0.5], [1.0]], np.float32)
  quiet = np.abs(x).max(1) < 0.25
  assert quiet.tolist() == [True, False, True, False]
  batch = core.examples(x, Curved.logits(VICTIM, x.T).argmax(0))
  raised = flags(loud, examples=batch)
  assert raised["gradient_stopped"].examples == (1, 3)
  assert "2 of 4" in raised["gradient_stopped"].said


def test_a_coarse_straight_through_is_not_the_gradient_and_a_fine_one_is():
  lifted = lambda bits: problem.straight_through(says, problem.quantise(bits))  # noqa: E731
  assert "gradient_wrong" in flags(lifted(3))
  assert flags(problem.straight_through(says, lambda x: x)) == {}


def test_label_sets():
  sets = (Curved.logits(VICTIM, X.T).T > 0).astype(int)
  objective = losses.untargeted_labels()
  assert flags(says, objective, core.examples(X, sets)) == {}
  raised = flags(
    lambda p, x: jax.nn.sigmoid(says(p, x)), objective, core.examples(X, sets)
  )
  assert "probabilities" in raised


def test_a_victim_of_one_sigmoid_is_no_worse_for_it():
  one = lambda p, x: says(p, x)[:1]  # noqa: E731
  sets = (Curved.logits(VICTIM, X.T).T[:, :1] > 0).astype(int)
  assert flags(one, losses.untargeted_labels(), core.examples(X, sets)) == {}


@pytest.mark.parametrize("label, target", [([0, 1], -1), (0, [1] * 5)])
def test_labels_of_another_length_are_refused(label, target):
  with pytest.raises(InputError, match=r"4 examples have labels or targets of shape"):
    core.examples(X, label, target)


def test_every_objective_is_tried():
  steep = BROKEN["saturated"]
  assert "saturated" not in flags(steep, losses.untargeted(losses.margin_loss))
  both = (losses.untargeted(losses.margin_loss), losses.untargeted())
  raised = flags(steep, losses.untargeted(losses.margin_loss), objectives=both)
  assert "saturated" in raised


# what is wrong -> changes of the batch, threat, objective, and what the sentence names
TARGETED = losses.targeted()
NAN = X * np.where(np.arange(4) == 2, np.nan, 1)[:, None]
HALF = np.ones_like(X) * np.array([[1], [0], [1], [0]])
BAD: dict[str, tuple[dict, dict, Any, list[str]]] = {
  "no target": ({}, {}, TARGETED, ["no target", "example 0 (and 3 more)"]),
  "target is the label": ({"target": LABEL}, {}, TARGETED, ["true label", "example 0"]),
  "target too large": ({"target": 4}, {}, TARGETED, ["target outside 0 to 3"]),
  "label too large": ({"label": 4}, {}, None, ["label outside 0 to 3", "4 classes"]),
  "label below 0": ({"label": -1}, {}, None, ["label outside 0 to 3"]),
  "radius 0": ({}, {"radius": 0.0}, None, ["radius 0", "more than 0"]),
  "radius negative": ({}, {"radius": -0.1}, None, ["radius -0.1"]),
  "radius NaN": ({}, {"radius": np.nan}, None, ["radius nan"]),
  "no radius": ({}, {"radius": np.inf}, None, ["no radius", "finite radius"]),
  "silence in dB": (
    {"x": X * HALF},
    {"budget": "snr_db", "radius": 20.0},
    None,
    ["example 1 (and 1 more)", "radius 0", "silent"],
  ),
  "mask": ({"mask": HALF}, {}, None, ["example 1 (and 1 more)", "mask"]),
  "box excludes": ({"x": 3 * X}, {}, None, ["box is [-1, 1]", "spans -1.4"]),
  "box upside down": ({}, {"box": (1.0, -1.0)}, None, ["box is (1.0, -1.0)"]),
  "NaN": ({"x": NAN}, {}, None, ["example 2", "NaN"]),
  "empty": ({"x": X[:0], "label": LABEL[:0]}, {}, None, ["no example"]),
  "sets for numbers": ({"label": np.eye(4)}, {}, None, ["untargeted_labels"]),
  "numbers for sets": ({}, {}, losses.untargeted_labels(), ["label sets", "[B, 4]"]),
  "one target for sets": (
    {"label": np.eye(4), "target": 1},
    {},
    losses.targeted_labels(),
    ["sets [4, 4]", "targets are [4]"],
  ),
  "sets of targets, one missing": (
    {"label": np.eye(4), "target": np.where(np.arange(4) == 2, -1, 1 - np.eye(4)).T},
    {},
    losses.targeted_labels(),
    ["example 2 has no target"],
  ),
  "set too long": (
    {"label": np.ones((4, 5))},
    {},
    losses.untargeted_labels(),
    ["[4]", "[5]"],
  ),
}  # fmt: skip


def fool(logits=says, batch=None, attack=None, objective=None, **threat):
  arguments = {"x": X, "label": LABEL} | (batch or {})
  bound = problem.bind(
    logits, THREAT._replace(**threat), objective or losses.untargeted()
  )
  solve = drive.solve_batch(drive.driver(attack or pgd(steps=2), bound))
  return solve(VICTIM, KEY, core.examples(**arguments))


def refused(*arguments, **threat) -> str:
  with pytest.raises(InputError) as error:
    fool(*arguments, **threat)
  said = str(error.value)
  assert 30 < len(said) < 300 and "\n" not in said
  return said


@pytest.mark.parametrize("wrong", BAD)
def test_bad_input_is_one_sentence(wrong):
  batch, threat, objective, named = BAD[wrong]
  said = refused(says, batch, None, objective, **threat)
  assert all(word in said for word in named), said


def test_a_budget_of_less_than_a_sample_is_one_sentence():
  said = refused(says, None, jsma(), norm=norms.L0, radius=0.5)
  assert "radius 0.5" in said and "at least 1" in said


@pytest.mark.parametrize(
  "logits, named",
  [
    (lambda p, x: says(p, x)[None], ["[1, 4]", "must return [classes]"]),
    (lambda p, x: says(p, x)[:, None], ["[4, 1]"]),
    (lambda p, x: says(p, x)[0], ["[]"]),
    (lambda p, x: says(p, x).argmax(), ["int32", "one float array"]),
    (lambda p, x: (says(p, x), x), ["one float array"]),
    (lambda p, x: says(p, x)[:1], ["one class"]),
    (lambda p, x: says(p, x) + jnp.log(-jnp.ones(4)), ["NaN", "example 0"]),
  ],
)
def test_a_victim_that_says_nothing_of_use(logits, named):
  said = refused(logits, {"label": 0})
  assert all(word in said for word in named), said


@pytest.mark.parametrize("classes, objective", [
  (2, losses.untargeted(losses.dlr)),
  (3, losses.targeted(losses.dlr)),
])  # fmt: skip
def test_too_few_classes_for_dlr(classes, objective):
  said = refused(
    lambda p, x: says(p, x)[:classes], {"label": 0, "target": 1}, None, objective
  )
  assert "DLR" in said and str(classes) in said


def test_an_attack_without_a_targeted_form():
  attack = pgd(steps=2)._replace(targetable=False)
  said = refused(says, {"target": (LABEL + 1) % 4}, attack, TARGETED)
  assert "targeted" in said


def test_sound_input_passes_in_and_outside_of_jit():
  bound = problem.bind(says, THREAT, losses.untargeted())
  solve = drive.solve_batch(drive.driver(white_noise(), bound))
  batch = core.examples(X, LABEL)
  inside = jax.jit(solve)(VICTIM, KEY, batch)
  np.testing.assert_allclose(
    inside.best.delta, solve(VICTIM, KEY, batch).best.delta, atol=1e-6
  )
  # a minimum-norm attack takes no radius
  fool(attack=deepfool(), radius=np.inf)
