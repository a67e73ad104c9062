"""Four CPU devices for every test; must run before jax makes its backend."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
# what tests run takes milliseconds, and seconds to compile; processes that they start
# compile as a user's do
jax.config.update("jax_disable_most_optimizations", True)
