"""What the oracles of the attacks share: linear victims and what is known of them."""

import functools

import jax.numpy as jnp
import numpy as np
from scipy import optimize
from small_victims import DUAL, SIZE, Linear, examples, linear, solver

from jaxadv import core

N = 20
RESOLVED = 0.02  # closer points are beyond what float32 or Adam can resolve
WIDE = (-50.0, 50.0)  # a box that no closed form meets
LAST = core.Goal(lambda new, old: jnp.bool_(True), lambda best: jnp.bool_(False))


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


def leads(victim: Linear, x: np.ndarray, target: int):
  """rows, gaps with rows @ d + gaps the target's leads over the others at x + d."""
  others = [k for k in range(len(victim.offset)) if k != target]
  rows = np.float64(victim.weights[target]) - victim.weights[others]
  return rows, rows @ x + np.float64(victim.offset[target]) - victim.offset[others]


def targeted_optimum(victim: Linear, x: np.ndarray, target: int) -> float:
  """min |d|_2 s.t. f_target >= f_k for every k, by scipy."""
  rows, gaps = leads(victim, x, target)
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


def targeted_minima(victim: Linear, stack: core.Example, norm: str) -> np.ndarray:
  """As `targeted_optimum`, in l1 or linf: a linear program for each clip."""
  minima = []
  for x, target in zip(np.float64(stack.x), stack.target, strict=True):
    rows, gaps = leads(victim, x, target)
    n, m = len(x), len(rows)
    # d = u - v with u, v >= 0, and for linf a bound t >= u + v, minimised
    reach, least = np.hstack([-rows, rows]), np.ones(2 * n)
    if norm == "linf":
      bound = np.hstack([np.eye(n), np.eye(n), -np.ones((n, 1))])
      reach = np.vstack([np.hstack([reach, np.zeros((m, 1))]), bound])
      gaps, least = np.append(gaps, np.zeros(n)), np.append(0 * least, 1)
    found = optimize.linprog(least, reach, gaps)
    assert found.success
    minima.append(found.fun)
  return np.array(minima)


def binary_margins(victim: Linear, stack: core.Example):
  """w with f_label(x + d) - f_other(x + d) = margin + w @ d, and the margin."""
  sign = np.where(stack.label == 0, 1.0, -1.0)
  w = sign[:, None] * (np.float64(victim.weights[0]) - victim.weights[1])
  b = sign * (np.float64(victim.offset[0]) - victim.offset[1])
  return w, (w * stack.x).sum(1) + b


def snr_db(x: np.ndarray, delta: np.ndarray) -> np.ndarray:
  power = (x.astype(np.float64) ** 2).sum(1) / (delta.astype(np.float64) ** 2).sum(1)
  return 10 * np.log10(power)


@functools.cache
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
