"""One example to its end, and a batch of them."""

import jax
import numpy as np
import small_victims

from jaxadv import core, drive, losses, norms, problem
from jaxadv.attacks import deepfool

VICTIM = small_victims.linear(0, classes=5, n=12)


def test_a_batch_is_its_examples_one_by_one():
  rng = np.random.default_rng(1)
  x = rng.uniform(-0.5, 0.5, (6, 12)).astype(np.float32)
  label = (x @ VICTIM.weights.T + VICTIM.offset).argmax(1)
  mask = rng.uniform(size=x.shape) < 0.8
  batch = core.examples(x, label, mask=mask)
  bound = problem.bind(
    VICTIM.logits, problem.Threat(norms.L2, box=(-9.0, 9.0)), losses.untargeted()
  )
  driver, key = drive.driver(deepfool(), bound), jax.random.key(0)
  lanes = drive.solve_batch(driver)(VICTIM, key, batch)
  assert lanes.best.success.all() and lanes.done.all()
  said = (x + lanes.best.delta) @ VICTIM.weights.T + VICTIM.offset
  assert (np.asarray(said).argmax(1) != label).all()
  for n in range(len(x)):
    example = jax.tree.map(lambda leaf, n=n: leaf[n], batch)
    one = drive.solve(driver, VICTIM, key, example)
    np.testing.assert_allclose(one.best.delta, lanes.best.delta[n], atol=1e-6)
    assert one.step == lanes.step[n]


def test_examples_fill_in_what_is_the_same_for_all():
  batch = core.examples(np.ones((3, 4)), [2, 0, 1])
  assert batch.id.tolist() == [0, 1, 2] and batch.label.tolist() == [2, 0, 1]
  assert batch.target.tolist() == [-1] * 3
  assert batch.mask.shape == batch.x.shape and batch.mask.all()
