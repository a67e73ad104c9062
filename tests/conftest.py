"""Four CPU devices for every test; must run before jax makes its backend."""

import jax

jax.config.update("jax_num_cpu_devices", 4)
