"""White noise: its distribution and spectrum, and SNR budgets."""

import numpy as np
import pytest
from closed_forms import LAST, WIDE, N, points, snr_db, solve
from small_victims import Linear, examples, linear

from jaxadv import attacks, norm_lifts
from jaxadv.norms import NORMS
from jaxadv.problem import Threat


@pytest.mark.parametrize(
  "method, norm, exact",
  [
    ("white_noise", "l2", True),
    ("fgsm", "l2", True),
    ("fgsm", "linf", True),  # every sign fills every corner
    ("pgd", "l2", True),
    ("pgd", "l1", False),
  ],
)
def test_an_snr_budget_holds_and_is_filled(method, norm, exact):
  victim = linear(11, 3, N)
  x, logits = points(victim, 12, 50)
  mask = np.arange(N) < 15  # noise on a part of the clip has to be louder there
  stack = examples(x, logits.argmax(1), mask=mask)
  attack = {
    "white_noise": attacks.white_noise(),
    "fgsm": attacks.fgsm(),
    "pgd": attacks.pgd(steps=20),
  }[method]
  lanes = solve(
    attack, Threat(NORMS[norm], 20.0, "snr_db", WIDE), victim, stack, goal=LAST
  )
  reached = snr_db(x, lanes.best.delta)
  assert (reached > 20 - 1e-3).all()
  if exact:
    np.testing.assert_allclose(reached, 20, atol=1e-3)


@pytest.mark.parametrize(
  "norm, order, mean_of_sizes",
  [
    ("l2", 2, np.sqrt(2 / np.pi)),  # Gaussian
    ("linf", np.inf, np.sqrt(3) / 2),  # uniform
    ("l1", 1, np.sqrt(1 / 2)),  # Laplace
  ],
)
def test_white_noise_is_white_of_its_norms_distribution_and_fills_the_ball(
  norm, order, mean_of_sizes
):
  """E|n| / sd(n), the correlation of neighbours and of clips, and the size."""
  n = 4000
  victim = Linear(np.zeros((2, n), np.float32), np.zeros(2, np.float32))
  stack = examples(np.full((5, n), 0.5), 0)
  threat = Threat(NORMS[norm], 0.3)
  noise = solve(attacks.white_noise(), threat, victim, stack).best.delta
  noise = noise.astype(np.float64)
  np.testing.assert_allclose(np.linalg.norm(noise, order, 1), 0.3, rtol=3e-5)
  noise /= noise.std(1, keepdims=True)
  assert abs(noise.mean()) < 0.03
  assert abs(np.abs(noise).mean() - mean_of_sizes) < 0.02
  assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.03
  assert abs(np.corrcoef(noise) - np.eye(5)).max() < 0.1  # each clip its own draw


@pytest.mark.parametrize("lift", ["framewise", "band_limited"])
def test_white_noise_fills_budgets_per_frame_and_in_a_band(lift):
  n = 4000
  norm = {
    "framewise": norm_lifts.framewise(NORMS["l2"], 100),
    "band_limited": norm_lifts.band_limited(NORMS["l2"], 1000.0, 3000.0, 16000.0),
  }[lift]
  victim = Linear(np.zeros((2, n), np.float32), np.zeros(2, np.float32))
  stack = examples(np.full((5, n), 0.5), 0)
  noise = solve(attacks.white_noise(), Threat(norm, 0.3), victim, stack).best.delta
  if lift == "framewise":
    each = np.linalg.norm(noise.reshape(5, -1, 100), axis=2)
    np.testing.assert_allclose(each.max(1), 0.3, rtol=1e-4)
    assert each.mean() > 0.28
  else:
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1), 0.3, rtol=1e-4)
    spectrum, hz = np.abs(np.fft.rfft(noise)), np.fft.rfftfreq(n, 1 / 16000)
    inside = (hz >= 1000) & (hz <= 3000)
    assert spectrum[:, ~inside].max() < 1e-3 * spectrum[:, inside].max()


ORACLE = test_an_snr_budget_holds_and_is_filled
