"""Does a victim's gradient exist, and does it equal a finite difference?"""

from collections.abc import Iterator

import numpy as np

from jaxadv.probe import Flag, Probe

_STEPS = tuple(10.0**n for n in range(-6, -1))  # of finite differences, in |x|
_DISAGREE = 0.4  # relative; 48 clips of a sound log-mel victim stayed below 0.3
_STEADY = 0.5  # slopes of neighbouring steps further apart tell nothing


def _slopes(victim, weights, grad, direction):
  """Errors of the gradient along one direction, and how the answer moved.

  Returns [B], relative to the finite difference at the step where neighbouring steps
  agree best, NaN where none do; and [steps, B], the largest change of a logit.
  """
  norm = lambda v: np.linalg.norm(v, axis=1)  # noqa: E731
  direction = direction / np.maximum(norm(direction), 1e-30)[:, None]
  loud = norm(victim.x * victim.mask)
  loud = np.where(loud > 0, loud, 1.0)[:, None]
  found, expected, moved = [], [], []
  for step in _STEPS:
    deltas = [np.float32(sign * step * loud * direction) for sign in (1, -1)]
    up, down = (victim.at(delta).logits for delta in deltas)
    heard = [np.float64(victim.x + delta * victim.mask) for delta in deltas]
    found.append(((up - down) * weights).sum(1) / (2 * step))
    expected.append(((heard[0] - heard[1]) * grad).sum(1) / (2 * step))
    moved.append(np.abs(up - down).max(1))
  found, expected = np.array(found), np.array(expected)
  # the slope to be had along a direction without meaning
  usual = norm(grad) * loud[:, 0] / np.sqrt(np.maximum(victim.mask.sum(1), 1)) / 2
  apart = np.abs(np.diff(found, axis=0))
  apart /= np.maximum(np.maximum(np.abs(found[1:]), np.abs(found[:-1])), usual) + 1e-30
  at = apart.argmin(0), np.arange(len(grad))
  size = np.maximum(np.maximum(np.abs(found[at]), np.abs(expected[at])), usual) + 1e-30
  error = np.abs(found[at] - expected[at]) / size
  return np.where(apart[at] < _STEADY, error, np.nan), np.array(moved)


def check_gradient(victim: Probe, logits: np.ndarray) -> Iterator[Flag]:
  """Flags where it is missing, not finite, or not the slope of the answer.

  logits: of the clean clips. Missing counts at the clip and at a random start. The
  slopes are those of a random weighting of the logits, which no loss can saturate,
  along the gradient and along white noise. Rounding has a flag of its own where it
  hides small changes; among as many samples as a clip has some always cross a step, and
  it is "gradient_stopped" like the rest.
  """
  rng = np.random.default_rng(0)
  weights = rng.normal(size=logits.shape)
  if not victim.labels:  # what moves all logits alike says nothing, unless sigmoids
    weights -= weights.mean(1, keepdims=True)
  noise = rng.normal(size=(3, *victim.x.shape)) * victim.mask
  clean, started = (victim.at(at, weights) for at in (0.0, victim.start(noise[2])))
  sizes = np.abs([clean.grad, started.grad]).sum(2)
  missing = (sizes == 0).any(0)
  finite = np.isfinite(sizes).all(0)
  yield from victim.flags(
    "gradient_nan",
    ~finite,
    "the gradient is not finite for {count} (attacks take it for 0): look for the root "
    "or the log of 0",
  )
  along = [noise[0], noise[1], clean.grad if np.all(sizes[0] > 0) else noise[2]]
  grad = np.nan_to_num(clean.grad)
  each = [_slopes(victim, weights, grad, np.nan_to_num(one)) for one in along]
  errors, moved = (np.array(one) for one in zip(*each, strict=True))
  rms = np.sqrt((victim.x**2).mean(1, keepdims=True)) + 1e-3
  loudly = np.abs(victim.at(rms * noise[0]).logits - logits).max(1) > 0
  stuck = (moved[:, 1:] == 0).any((0, 1)) & loudly
  steady = np.isfinite(errors).sum(0) > 1
  error = np.nanmedian(np.where(steady, errors, 0.0), axis=0)
  yield from victim.flags(
    "gradient_zero",
    missing & ~loudly,
    "the gradient is 0 and noise as loud as the clip changes no logit for {count}: the "
    "victim does not hear its input",
  )
  yield from victim.flags(
    "rounding",
    missing & stuck,
    "small changes change no logit, large ones do, and the gradient is 0 for {count}: "
    "lift the rounding with problem.straight_through",
  )
  yield from victim.flags(
    "gradient_stopped",
    missing & ~stuck & loudly,
    "the gradient is 0 for {count} though small changes of the clip change the logits: "
    "look for rounding, stop_gradient or a callback, and lift that part with "
    "problem.straight_through",
  )
  yield from victim.flags(
    "gradient_wrong",
    ~missing & finite & (error > _DISAGREE),
    f"the gradient differs from a finite difference by {error.max():.0%} for "
    "{count}: look for a custom gradient (problem.straight_through of a coarse "
    "transform raises this too), and attack without gradients to compare",
  )
  yield from victim.flags(
    "rough",
    ~missing & finite & ~steady,
    "no step gives a steady finite difference for {count}: the gradient tells little "
    "of the neighbourhood; attack without gradients to compare",
  )
