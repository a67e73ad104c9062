"""Attacks against closed forms on linear victims, and scipy where there is none."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from small_victims import DUAL, SIZE, Linear, examples, linear, solver

from jaxadv import attacks, core, losses
from jaxadv.norms import NORMS
from jaxadv.problem import Threat

N = 20
WIDE = (-50.0, 50.0)  # a box that no closed form meets
EACH_NORM = pytest.mark.parametrize("norm", list(NORMS))


def solve(attack, threat, victim, stack, radius=None, **aims):
  run = solver(attack, threat, type(victim), **aims)
  return run(victim, stack, radius=threat.radius if radius is None else radius)


def points(victim: Linear, seed: int, count: int = 100):
  """Small clips and what the victim says of each, in float64."""
  x = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, N)).astype(np.float32)
  logits = x.astype(np.float64) @ victim.weights.T + victim.offset
  return x, logits


def minimal_distances(victim: Linear, logits: np.ndarray, norm: str) -> np.ndarray:
  """min over k of |f_k| / dual(w_k): from each point to its nearest boundary."""
  label = logits.argmax(1)
  distances = []
  for f, y in zip(logits, label, strict=True):
    others = [k for k in range(len(f)) if k != y]
    w = np.float64(victim.weights[others]) - victim.weights[y]
    gaps = f[y] - f[others]
    distances.append(min(g / DUAL[norm](v) for g, v in zip(gaps, w, strict=True)))
  return np.array(distances)


def sizes(delta: np.ndarray, norm: str) -> np.ndarray:
  return np.array([SIZE[norm](d) for d in delta.astype(np.float64)])


def fooled(victim: Linear, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
  """Labels of x + delta, in float64."""
  return ((x.astype(np.float64) + delta) @ victim.weights.T + victim.offset).argmax(1)


@EACH_NORM
def test_deepfool_reaches_the_nearest_boundary_in_one_step(norm):
  """On a linear victim: the distance, its overshoot, and the nudge; two judgements."""
  victim = linear(1, 5, N)
  x, logits = points(victim, 2)
  label = logits.argmax(1)
  overshoot, nudge = 0.02, 1e-4
  lanes = solve(
    attacks.deepfool(overshoot=overshoot, nudge=nudge),
    Threat(NORMS[norm], box=WIDE),
    victim,
    examples(x, label),
  )
  expected = (1 + overshoot) * (minimal_distances(victim, logits, norm) + nudge)
  np.testing.assert_allclose(sizes(lanes.best.delta, norm), expected, 2e-4, 2e-6)
  assert (fooled(victim, x, lanes.best.delta) != label).all()
  assert (lanes.step == 2).all()


def test_deepfool_keeps_to_its_candidate_classes():
  """With one rival it goes to the runner-up, though another boundary is nearer."""
  weights = np.zeros((3, N), np.float32)
  weights[1, 0], weights[2, 1] = 0.1, 10.0
  victim = Linear(weights, np.float32([0, -0.1, -1.0]))
  stack = examples(np.zeros((1, N)), 0)
  threat = Threat(NORMS["l2"], box=WIDE)
  near = solve(attacks.deepfool(classes=3), threat, victim, stack).best.delta[0]
  far = solve(attacks.deepfool(classes=2), threat, victim, stack).best.delta[0]
  np.testing.assert_allclose([near[1], far[0]], [0.1, 1.0], rtol=0.03)


# Adam's steps are as long as the learning rate, whatever the gradient: 1% of a distance
# of 0.02 in 20 coordinates needs about 1e-3, and 1000 iterations to get anywhere
CARLINI_WAGNER = {"searches": 9, "iterations": 1000, "learning_rate": 1e-3}
RESOLVED = 0.02


def test_carlini_wagner_reaches_the_minimal_distance():
  """Within 1% on at least 99% of points, and never below it.

  Two classes: with more, the hinge follows the runner-up into a local minimum.
  """
  victim = linear(3, 2, N)
  x, logits = points(victim, 4, 200)
  optimum = minimal_distances(victim, logits, "l2")
  x, label = x[optimum > RESOLVED], logits.argmax(1)[optimum > RESOLVED]
  attack = attacks.carlini_wagner(**CARLINI_WAGNER)
  lanes = solve(attack, Threat(NORMS["l2"]), victim, examples(x, label))
  ratio = sizes(lanes.best.delta, "l2") / optimum[optimum > RESOLVED]
  assert len(x) > 150 and (fooled(victim, x, lanes.best.delta) != label).all()
  assert ratio.min() > 0.9999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def targeted_optimum(victim: Linear, x: np.ndarray, target: int) -> float:
  """min |d|_2 s.t. f_target >= f_k for every k, by scipy."""
  others = [k for k in range(len(victim.offset)) if k != target]
  rows = np.float64(victim.weights[target]) - victim.weights[others]
  gaps = rows @ x + np.float64(victim.offset[target]) - victim.offset[others]
  found = optimize.minimize(
    lambda d: (d**2).sum(),
    np.linalg.lstsq(rows, -gaps, rcond=None)[0],
    jac=lambda d: 2 * d,
    method="SLSQP",
    constraints={
      "type": "ineq",
      "fun": lambda d: rows @ d + gaps,
      "jac": lambda d: rows,
    },
    options={"ftol": 1e-12, "maxiter": 200},
  )
  assert found.success
  return float(np.linalg.norm(found.x))


@pytest.fixture(scope="module")
def towards_targets():
  """A victim, clips, targets that are not yet reached, and their l2 distances."""
  victim = linear(5, 4, N)
  x, logits = points(victim, 6, 60)
  target = (logits.argmax(1) + 1 + np.arange(60) % 3) % 4
  optimum = np.array(
    [targeted_optimum(victim, *one) for one in zip(x, target, strict=True)]
  )
  far = optimum > RESOLVED
  stack = examples(x[far], logits.argmax(1)[far], target[far])
  return victim, stack, optimum[far]


def test_targeted_carlini_wagner_reaches_the_minimal_distance(towards_targets):
  victim, stack, optimum = towards_targets
  attack = attacks.carlini_wagner(**CARLINI_WAGNER)
  threat = Threat(NORMS["l2"], box=(-2.0, 2.0))
  lanes = solve(attack, threat, victim, stack, objective=losses.targeted())
  ratio = sizes(lanes.best.delta, "l2") / optimum
  assert (fooled(victim, stack.x, lanes.best.delta) == stack.target).all()
  assert ratio.min() > 0.999
  assert (ratio < 1.01).mean() >= 0.99, np.sort(ratio)[-5:]


def test_targeted_pgd_reaches_the_target_just_where_it_can(towards_targets):
  victim, stack, optimum = towards_targets
  share = np.where(stack.id % 2, 1.1, 0.97)
  reached = share > 1
  lanes = solve(
    attacks.pgd(steps=200),
    Threat(NORMS["l2"], box=WIDE),
    victim,
    stack,
    objective=losses.targeted(losses.margin_loss),
    radius=share * optimum,
  )
  hit = fooled(victim, stack.x, lanes.best.delta) == stack.target
  assert (hit == reached).all()
  assert (lanes.best.success == reached).all()


def binary_margins(victim: Linear, stack: core.Example):
  """w with f_label(x + d) - f_other(x + d) = margin + w @ d, and the margin."""
  sign = np.where(stack.label == 0, 1.0, -1.0)
  w = sign[:, None] * (np.float64(victim.weights[0]) - victim.weights[1])
  b = sign * (np.float64(victim.offset[0]) - victim.offset[1])
  return w, (w * stack.x).sum(1) + b


@EACH_NORM
def test_pgd_finds_the_worst_point_of_the_ball(norm):
  """The margin falls by radius * dual(w): the most that any point of the ball does."""
  victim = linear(7, 2, N)
  x, logits = points(victim, 8, 50)
  stack = examples(x, logits.argmax(1))
  w, clean = binary_margins(victim, stack)
  radius = 0.1
  lanes = solve(
    attacks.pgd(steps=100, step_size=0.1),
    Threat(NORMS[norm], radius, box=WIDE),
    victim,
    stack,
    goal=core.STRONGEST,
  )
  fall = -(w * lanes.best.delta).sum(1)
  best = radius * np.array([DUAL[norm](v) for v in w])
  np.testing.assert_allclose(fall, best, rtol=1e-3)
  # the loss that it reports is that of the point: log(1 + exp(-margin)), going down
  expected = -np.logaddexp(0, -(clean - fall))
  np.testing.assert_allclose(lanes.best.loss, expected, 1e-4, 1e-6)


@pytest.mark.parametrize("method", ["fgsm", "pgd"])
def test_linf_attacks_find_the_optimum_of_box_mask_and_ball(method):
  """linf, box and mask act on each coordinate alone, so the worst point is known."""
  victim = linear(9, 2, N)
  rng = np.random.default_rng(10)
  x = rng.uniform(-1, 1, (50, N)).astype(np.float32)
  mask = rng.uniform(size=x.shape) < 0.7
  label = (x @ victim.weights.T + victim.offset).argmax(1)
  stack = examples(x, label, mask=mask)
  w, _ = binary_margins(victim, stack)
  attack = attacks.pgd(steps=50) if method == "pgd" else attacks.fgsm()
  lanes = solve(attack, Threat(NORMS["linf"], 0.3), victim, stack, goal=core.STRONGEST)
  worst = (np.clip(x - 0.3 * np.sign(w), -1, 1) - x) * mask
  np.testing.assert_allclose(lanes.best.delta, worst, atol=1e-6)


def snr_db(x: np.ndarray, delta: np.ndarray) -> np.ndarray:
  power = (x.astype(np.float64) ** 2).sum(1) / (delta.astype(np.float64) ** 2).sum(1)
  return 10 * np.log10(power)


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


LAST = core.Goal(lambda new, old: jnp.bool_(True), lambda best: jnp.bool_(False))


def test_white_noise_is_gaussian_and_white():
  """Kurtosis and neighbour correlation of many clips: 3 and 0."""
  n = 4000
  victim = Linear(np.zeros((2, n), np.float32), np.zeros(2, np.float32))
  stack = examples(np.full((5, n), 0.5), 0)
  threat = Threat(NORMS["l2"], 20.0, "snr_db")
  noise = solve(attacks.white_noise(), threat, victim, stack).best.delta
  noise = noise.astype(np.float64) / noise.std(1, keepdims=True)
  assert abs(noise.mean()) < 0.03
  assert abs((noise**4).mean() - 3) < 0.3
  assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.03
  assert abs(np.corrcoef(noise) - np.eye(5)).max() < 0.1  # each clip its own draw


ORACLES = {
  "white_noise": test_an_snr_budget_holds_and_is_filled,
  "fgsm": test_linf_attacks_find_the_optimum_of_box_mask_and_ball,
  "pgd": test_pgd_finds_the_worst_point_of_the_ball,
  "deepfool": test_deepfool_reaches_the_nearest_boundary_in_one_step,
  "carlini_wagner": test_carlini_wagner_reaches_the_minimal_distance,
}


@pytest.mark.parametrize("name", list(attacks.ATTACKS))
def test_every_attack_has_an_oracle(name):
  assert name in ORACLES, f"{name} has no closed form in tests/attacks/test_oracles.py"
