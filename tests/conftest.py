"""Four CPU devices for every test; must run before jax makes its backend."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture(autouse=True, scope="module")
def _compiled_quickly(request):
  """Most programs of the tests run for milliseconds and take seconds to compile.

  Not those of tests/experiments, which run as a user's do.
  """
  if "experiments" in request.path.parts:
    yield
    return
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
