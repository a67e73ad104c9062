"""Losses against scipy, scikit-learn, numpy; successes against argmax and sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special
from sklearn.metrics import log_loss

from jaxadv.errors import InputError
from jaxadv.losses import (
  LABEL_RULES,
  LOSSES,
  binary_cross_entropy,
  cross_entropy,
  dlr,
  dlr_targeted,
  margin,
  margin_loss,
  targeted,
  targeted_labels,
  untargeted,
  untargeted_labels,
)

K = 5
logit_arrays = hnp.arrays(
  np.float32, K, elements=st.floats(-80, 80, width=32, allow_subnormal=False)
)
classes = st.integers(0, K - 1)
SURE = np.float32([40, 0, -5, 1, 2])  # 1 - p is 0 in float32
CROSS_ENTROPY, MARGIN = jax.jit(cross_entropy), jax.jit(margin)
GRADIENT = jax.jit(jax.grad(cross_entropy))
EACH_LOSS = pytest.mark.parametrize("loss", list(LOSSES))


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, label=classes)
@example(logits=SURE, label=0)
def test_cross_entropy_is_scipys(logits, label):
  """To a relative 1e-4, where the label has nearly all too."""
  z = logits.astype(np.float64)
  expected = np.logaddexp(0, special.logsumexp(np.delete(z, label)) - z[label])
  np.testing.assert_allclose(CROSS_ENTROPY(logits, label), expected, 1e-4, 1e-37)


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, label=classes)
@example(logits=SURE, label=0)
def test_cross_entropys_gradient_is_exact_however_sure_the_victim(logits, label):
  expected = special.softmax(logits.astype(np.float64))
  expected[label] = -np.delete(expected, label).sum()
  np.testing.assert_allclose(GRADIENT(logits, label), expected, 1e-4, 1e-37)


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, label=classes)
def test_margin_is_the_lead_over_the_best_other(logits, label):
  expected = logits[label] - np.delete(logits, label).max()
  np.testing.assert_allclose(MARGIN(logits, label), expected, 1e-6, 1e-6)
  np.testing.assert_allclose(
    margin_loss(jnp.array(logits), label), -expected, 1e-6, 1e-6
  )


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_losses_and_gradients_are_finite_on_saturated_logits(scale):
  logits = scale * jnp.float32([1.0, -1.0, 0.5])
  for loss in LOSSES.values():
    for label in range(3):
      value, grad = jax.value_and_grad(loss)(logits, label)
      assert np.isfinite(value) and np.isfinite(grad).all()


@EACH_LOSS
def test_untargeted_loss_falls_where_the_label_loses(loss):
  """Raising the label raises the loss; raising the strongest rival lowers it."""
  objective = untargeted(LOSSES[loss])
  logits = jnp.float32([1.0, 0.2, 0.7, -1.0])
  slope = jax.grad(objective.loss)(logits, 0, -1)
  assert slope[0] > 0.1 and slope[2] < -0.1


@EACH_LOSS
def test_targeted_loss_falls_where_the_target_wins(loss):
  objective = targeted(LOSSES[loss])
  logits = jnp.float32([1.0, 0.2, 0.7, -1.0])
  slope = jax.grad(objective.loss)(logits, 2, 3)  # the label plays no part
  assert slope[3] < -0.1
  assert slope[0] > 0.1 or loss == "dlr"  # which looks at the label too


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, label=classes, target=classes)
def test_success_is_what_argmax_says(logits, label, target):
  if (np.diff(np.sort(logits)) < 1e-3).any():
    return  # a tie is nobody's
  said = logits.argmax()
  assert untargeted().success(jnp.array(logits), label, -1) == (said != label)
  assert targeted().success(jnp.array(logits), label, target) == (said == target)


def test_a_tie_is_no_success():
  tied = jnp.float32([1.0, 1.0, 0.0])
  assert not untargeted().success(tied, 0, -1)
  assert not targeted().success(tied, 0, 1)


@pytest.mark.parametrize(
  "lead, confidence, won",
  [(2.0, 0.0, True), (2.0, 1.9, True), (2.0, 2.1, False), (-0.1, 0.0, False)],
)
def test_confidence_is_the_lead_that_success_needs(lead, confidence, won):
  logits = jnp.float32([0.0, lead, -5.0])
  assert untargeted(confidence=confidence).success(logits, 0, -1) == won
  assert targeted(confidence=confidence).success(logits, 0, 1) == won


def dlr_by_hand(logits, label):
  """Croce and Hein, ICML 2020, eq. 6, in float64."""
  z = logits.astype(np.float64)
  first, second, third = np.sort(z)[::-1][:3]
  rival = second if z.argmax() == label else first
  return -(z[label] - rival) / (first - third)


def dlr_targeted_by_hand(logits, label, target):
  """Eq. 7, as a loss that goes down."""
  z = logits.astype(np.float64)
  first, _, third, fourth = np.sort(z)[::-1][:4]
  return (z[label] - z[target]) / (first - (third + fourth) / 2)


DLR, DLR_TARGETED = jax.jit(dlr), jax.jit(dlr_targeted)
# the DLR losses divide by differences of logits
distinct = logit_arrays.filter(lambda logits: np.diff(np.sort(logits)).min() > 1e-2)


@settings(deadline=None, max_examples=30)
@given(logits=distinct, label=classes, target=classes)
def test_dlr_losses_are_the_papers(logits, label, target):
  expected = dlr_by_hand(logits, label)
  np.testing.assert_allclose(DLR(logits, label), expected, 1e-4, 1e-5)
  expected = dlr_targeted_by_hand(logits, label, target)
  for value in (
    DLR_TARGETED(logits, label, target),
    targeted(dlr).loss(jnp.array(logits), label, target),
  ):
    np.testing.assert_allclose(value, expected, 1e-4, 1e-5)


@settings(deadline=None, max_examples=30)
@given(
  logits=st.permutations([-7.0, -3.0, 0.0, 5.0, 30.0]).map(np.float32),
  label=classes,
  target=classes,
  shift=st.integers(-100, 100),
  power=st.integers(-3, 10),
)
def test_dlr_losses_see_neither_shift_nor_scale(logits, label, target, shift, power):
  moved = (logits + np.float32(shift)) * np.float32(2.0**power)  # exact
  np.testing.assert_allclose(DLR(moved, label), DLR(logits, label), 1e-5)
  same = DLR_TARGETED(moved, label, target), DLR_TARGETED(logits, label, target)
  np.testing.assert_allclose(*same, rtol=1e-5)


def test_dlr_losses_need_classes():
  two, three = jnp.float32([1.0, 0.0]), jnp.float32([1.0, 0.0, 3.0])
  with pytest.raises(InputError, match="needs 3 classes and the victim has 2"):
    dlr(two, jnp.int32(0))
  with pytest.raises(InputError, match="needs 4 classes and the victim has 3"):
    dlr_targeted(three, jnp.int32(0), jnp.int32(1))
  np.testing.assert_allclose(dlr(three, jnp.int32(2)), -2 / 3, 1e-6)


# 1: there, 0: not there, -1: no matter
label_sets = hnp.arrays(np.int32, K, elements=st.sampled_from([-1, 0, 1]))
BINARY = jax.jit(binary_cross_entropy)
# a logit on the threshold is nobody's
decided = logit_arrays.filter(lambda logits: np.abs(logits).min() > 1e-3)


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, labels=label_sets)
def test_binary_cross_entropy_is_scipys_over_the_labels_that_count(logits, labels):
  z, y = logits[labels >= 0].astype(np.float64), labels[labels >= 0]
  right = np.where(y == 1, special.log_expit(z), special.log_expit(-z))
  expected = -right.sum() / max(len(y), 1)
  value = BINARY(logits, labels)
  np.testing.assert_allclose(value, expected, 1e-5, 1e-6)
  if len(y) and np.abs(z).max() < 30:  # scikit-learn clips what is nearly certain
    other = log_loss(y, special.expit(z), labels=[0, 1])
    np.testing.assert_allclose(value, other, 1e-3, 1e-5)


@settings(deadline=None, max_examples=50)
@given(logits=decided, labels=label_sets)
def test_untargeted_labels_win_by_their_rule(logits, labels):
  said = set(np.flatnonzero(logits > 0))
  true = set(np.flatnonzero(labels == 1))
  no_matter = set(np.flatnonzero(labels == -1))
  won = {
    "any_changed": said - no_matter != true,
    "any_missed": bool(true - said),
    "all_missed": bool(true) and not true & said,
  }
  assert won.keys() == LABEL_RULES.keys()
  given_to_it = (jnp.array(logits), jnp.array(labels), jnp.int32(-1))
  for rule, expected in won.items():
    objective = untargeted_labels(rule)
    assert not objective.targeted
    assert objective.success(*given_to_it) == expected
    np.testing.assert_allclose(
      objective.loss(*given_to_it), -BINARY(logits, labels), 1e-6
    )


@settings(deadline=None, max_examples=50)
@given(
  logits=decided,
  labels=label_sets,
  target=label_sets.filter(lambda target: (target >= 0).any()),
)
def test_targeted_labels_win_with_just_the_target_set(logits, labels, target):
  """The label plays no part."""
  asked = target >= 0
  expected = ((logits > 0) == (target == 1))[asked].all()
  objective = targeted_labels()
  given_to_it = (jnp.array(logits), jnp.array(labels), jnp.array(target))
  assert objective.targeted
  assert objective.success(*given_to_it) == expected
  np.testing.assert_allclose(objective.loss(*given_to_it), BINARY(logits, target), 1e-6)


@pytest.mark.parametrize(
  "rule, lead", [("any_changed", 3.0), ("any_missed", 3.0), ("all_missed", 2.0)]
)
def test_confidence_is_the_lead_that_a_label_set_needs(rule, lead):
  """One true label is missed by 2, one by 3; what is not true is said by 0.5."""
  logits, labels = jnp.float32([0.5, -2.0, -3.0]), jnp.int32([0, 1, 1])
  for confidence, won in ((lead - 0.1, True), (lead + 0.1, False)):
    objective = untargeted_labels(rule, confidence=confidence)
    assert objective.success(logits, labels, jnp.int32(-1)) == won
  # all of a target: by the least of its leads
  for confidence, won in ((0.4, True), (0.6, False)):
    objective = targeted_labels(confidence=confidence)
    assert objective.success(logits, labels, jnp.int32([1, 0, -1])) == won
