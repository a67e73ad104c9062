"""Minimum-norm attacks that look at all boundaries first, on linear victims."""

import numpy as np
import pytest
from closed_forms import RESOLVED, WIDE, N, minimal_distances, points, sizes, solve
from small_victims import Curved, curved, examples, linear

from jaxadv import attacks, entries, losses
from jaxadv.errors import InputError
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

CLASSES = 5
VICTIM = linear(1, CLASSES, N)
BRIEF = {"search_steps": 3, "iterations": 100, "abort_early": False}
DESCENDING = {
  ("carlini_wagner", "l2"): attacks.carlini_wagner(**BRIEF),
  ("carlini_wagner_linf", "linf"): attacks.carlini_wagner_linf(steps=1000),
  ("ddn", "l2"): attacks.ddn(steps=300),
  ("fmn", "l1"): attacks.fmn(steps=300),
  ("fmn", "l2"): attacks.fmn(steps=300),
  ("fmn", "linf"): attacks.fmn(steps=300),
}


def ratios(attack, norm, confidence=0.0):
  """Of the distances that it reaches to the smallest possible ones, and the lanes."""
  x, logits = points(VICTIM, 2, 200)
  label = logits.argmax(1)
  wanted = logits - confidence * (np.arange(CLASSES) != label[:, None])
  optimum = minimal_distances(VICTIM, wanted, norm)
  far = optimum > RESOLVED
  box = (-1.0, 1.0) if norm == "l2" else WIDE
  objective = losses.untargeted(confidence=confidence)
  lanes = solve(
    attack,
    Threat(NORMS[norm], box=box),
    VICTIM,
    examples(x[far], label[far]),
    objective=objective,
  )
  return sizes(lanes.best.delta, norm) / optimum[far], lanes


@pytest.mark.parametrize(("method", "norm"), DESCENDING)
def test_the_minimal_distance_is_reached_among_many_classes(method, norm):
  """Within 1% on at least 99% of points, and never below it."""
  attack = DESCENDING[method, norm]
  ratio, lanes = ratios(attacks.survey(attack, CLASSES), norm)
  assert len(ratio) > 130 and lanes.best.success.all()
  assert ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]
  assert (lanes.step <= attack.steps + CLASSES - 1).all()


def test_without_it_the_runner_up_misleads():
  ratio, lanes = ratios(DESCENDING["fmn", "l2"], "l2")
  assert lanes.best.success.all() and (ratio < 1.01).mean() < 0.9


def test_a_success_has_the_confidence_that_was_asked_for():
  """And its distance is the smallest of those."""
  attack = attacks.survey(DESCENDING["fmn", "l2"], CLASSES)
  ratio, lanes = ratios(attack, "l2", confidence=0.5)
  assert lanes.best.success.all() and ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_the_looks_judge_the_clean_clip_and_cost_a_gradient_each():
  """A clip that is misclassified is found so by the first."""
  x = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 12)).astype(np.float32)
  victim = curved(0)
  said = Curved.logits(victim, x.T).argmax(0)
  stack = examples(x, np.where(np.arange(6) < 3, said, (said + 1) % 4))
  attack = attacks.survey(attacks.fmn(steps=20), 4)
  lanes = solve(attack, Threat(NORMS["l2"]), victim, stack)
  assert (lanes.step[:3] == 3 + 21).all() and (lanes.step[3:] == 1).all()
  assert (lanes.best.size[:3] > 0).all() and (lanes.best.size[3:] == 0).all()


def test_a_class_without_a_gradient_stops_nobody():
  """The fifth class is a constant of the victim's that none can reach."""
  weights = np.vstack([VICTIM.weights[:4], VICTIM.weights[0]])
  offset = np.append(VICTIM.offset[:4], VICTIM.offset[0] - 1)
  victim = type(VICTIM)(weights, offset)
  x = points(victim, 2, 50)[0]
  label = (x @ weights.T + offset).argmax(1)
  attack = attacks.survey(attacks.fmn(steps=100), CLASSES)
  lanes = solve(attack, Threat(NORMS["l2"], box=WIDE), victim, examples(x, label))
  four = type(VICTIM)(weights[:4], offset[:4])
  optimum = minimal_distances(four, points(four, 2, 50)[1], "l2")
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert lanes.best.success.all() and (ratio[optimum > RESOLVED] < 1.02).all()


FMN = {"method": "fmn", "norm": "l2", "survey": CLASSES}


@pytest.mark.parametrize(
  ("entry", "target", "said"),
  [
    (FMN | {"method": "deepfool"}, False, "survey is for attacks that go down"),
    (FMN | {"survey": 1}, False, "survey is 1: give the victim's number of classes"),
    (FMN | {"survey": True}, False, "survey is True: give a value of type int"),
    (FMN, True, "for untargeted attacks that are no ensembles"),
    (
      {"method": "autoattack", "norm": "l2", "radius": 1.0, "survey": 5},
      False,
      "for untargeted attacks that are no ensembles",
    ),
  ],
)
def test_a_config_says_what_is_wrong(entry, target, said):
  with pytest.raises(InputError, match=said):
    entries.attack_plan("a", entry, target=target)


def test_another_number_of_classes_and_a_target_are_refused():
  stack = examples(np.zeros((1, N)), 0, 1)
  threat = Threat(NORMS["l2"])
  with pytest.raises(InputError, match="survey is 4: give the victim's 5 classes"):
    solve(attacks.survey(attacks.fmn(), 4), threat, VICTIM, stack)
  with pytest.raises(InputError, match="untargeted attacks on one label"):
    attack = attacks.survey(attacks.fmn(), CLASSES)
    solve(attack, threat, VICTIM, stack, objective=losses.targeted())
