"""Losses against scipy; what a success is, as numpy's argmax has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from jaxadv.losses import (
  LOSSES,
  cross_entropy,
  margin,
  margin_loss,
  targeted,
  untargeted,
)

K = 5
logit_arrays = hnp.arrays(
  np.float32, K, elements=st.floats(-80, 80, width=32, allow_subnormal=False)
)
classes = st.integers(0, K - 1)
CROSS_ENTROPY, MARGIN = jax.jit(cross_entropy), jax.jit(margin)
EACH_LOSS = pytest.mark.parametrize("loss", list(LOSSES))


@settings(deadline=None, max_examples=30)
@given(logits=logit_arrays, label=classes)
def test_cross_entropy_is_scipys(logits, label):
  expected = -special.log_softmax(logits.astype(np.float64))[label]
  np.testing.assert_allclose(CROSS_ENTROPY(logits, label), expected, 1e-5, 2e-5)


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
