"""The two ways to a spectrum are one."""

import jax
import numpy as np

from jaxadv.models import frontends


def test_the_product_gives_what_the_fft_gives(monkeypatch):
  x = np.random.default_rng(0).normal(0, 0.1, frontends.CHUNK_SAMPLES)
  x[30000:50000] = 0

  def both(x):
    mel, pull = jax.vjp(frontends.log_mel_attack, x)
    return mel, *pull(jax.numpy.sin(mel))

  answers, programs = [], []
  for backends in ((), (jax.default_backend(),)):
    monkeypatch.setattr(frontends, "BY_PRODUCT", backends)
    lowered = jax.jit(lambda x: both(x)).lower(x.astype(np.float32))  # traced again
    programs.append(lowered.as_text())
    answers.append(lowered.compile()(x.astype(np.float32)))
  assert ["fft" in text for text in programs] == [True, False]
  (mel, gradient), (other_mel, other_gradient) = answers
  assert np.ptp(mel) > 40
  np.testing.assert_allclose(other_mel, mel, atol=1e-3)
  size = np.linalg.norm(gradient)
  assert np.linalg.norm(other_gradient - gradient) < 1e-3 * size > 0
