"""What an attack's step costs against the bare gradient of the same loss and batch.

The attack's compiled step on a full set of lanes, and the jitted value_and_grad that
nothing can beat; both of the folded network in the precision asked for, as in a run.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benches.timing import Measured, bars, interleaved, machine
from jaxadv import build, drive, engine, entries, memory, problem
from jaxadv.core import GOALS, Example, examples
from jaxadv.inference import MATMUL
from jaxadv.models import folding
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report.tables import Table

BARE = "bare gradient"


def run(settings: Mapping[str, Any]) -> Measured:
  """As `measured`, at the precision of the products that the config asks for."""
  with jax.default_matmul_precision(MATMUL[settings["precision"]]):
    return measured(settings)


def measured(settings: Mapping[str, Any]) -> Measured:
  """One row per attack: milliseconds per clip of a step and of the bare gradient."""
  plans = {
    name: entries.attack_plan(name, entry, target=False).against(settings["classes"])
    for name, entry in settings["attacks"].items()
  }
  model = build.classifier(settings["model"], settings["classes"])
  devices = jax.local_devices()[:1]
  key = jax.random.key(settings["seed"])
  batch = random_batch(settings["lanes"], settings["classes"], settings["seed"])
  one = jax.tree.map(lambda leaf: leaf[0], batch)
  trained = jax.jit(model.init)(key, one.x)
  folded = folding.fold(model, trained, one.x)
  if settings["precision"] == "bfloat16":
    folded = folding.to_bfloat16(folded)
  trained, variables, key = engine.replicate((trained, folded, key), devices)
  objective = next(iter(plans.values())).objective
  timed = {
    BARE: bare_gradient(model, objective, variables, batch),
    "the same, not folded, float32": bare_gradient(model, objective, trained, batch),
  }
  compiled: dict[str, float] = {}
  lanes: dict[str, int] = {}
  for name, plan in plans.items():
    passes = plan.attack.forward_passes, plan.attack.backward_passes
    count = lanes[name] = memory.lanes_for(settings["lanes"], *passes)
    some = jax.tree.map(lambda leaf, count=count: leaf[:count], batch)
    timed[name], compiled[name] = attack_step(
      model, plan, variables, key, some, one, devices
    )
  medians = interleaved(timed, settings["repeats"])
  full: int = settings["lanes"]
  each = {name: seconds / lanes.get(name, full) for name, seconds in medians.items()}
  rows = []
  for name, seconds in each.items():
    passes = plans[name].attack.backward_passes if name in plans else 1
    cells = (str(lanes.get(name, full)), f"{1e3 * seconds:.2f}", str(passes))
    ratio = f"{seconds / each[BARE]:.2f}"
    rows.append((name, *cells, ratio, f"{compiled.get(name, 0.0):.1f}"))
  table = Table(
    f"Cost of a step, clips of {CHUNK_SAMPLES} samples",
    (
      *("step", "clips at once", "ms per clip", "backward passes"),
      *("times the gradient", "compile s"),
    ),
    rows,
    f"{machine()}; precision {settings['precision']}; medians of "
    f"{settings['repeats']}, interleaved",
  )
  ratios = {row[0]: float(row[4]) for row in rows}
  return Measured(table, bars(ratios, "times the bare gradient", goal=1.0))


def random_batch(lanes: int, classes: int, seed: int) -> Example:
  rng = np.random.default_rng(seed)
  x = rng.normal(0, 0.1, (lanes, CHUNK_SAMPLES)).clip(-1, 1).astype(np.float32)
  return examples(x, rng.integers(0, classes, lanes))


def bare_gradient(model, objective, variables, batch: Example) -> Callable[[], Any]:
  """The gradient of the summed loss of a batch: what nothing can beat."""

  def loss(x, variables):
    logits = jax.vmap(lambda one: model.apply(variables, one))(x)
    return jax.vmap(objective.loss)(logits, batch.label, batch.target).sum()

  function = jax.jit(jax.value_and_grad(loss))
  x = jnp.asarray(batch.x)
  return lambda: function(x, variables)


def attack_step(model, plan, variables, key, batch, one, devices):
  """(function that takes one step of all lanes, seconds to compile)."""

  def logits(variables, x):
    return model.apply(variables, x)

  driver = drive.driver(
    plan.attack, problem.bind(logits, plan.threat, plan.objective), _NEVER_ENOUGH
  )
  compiled = engine.compile_lanes(
    driver,
    variables,
    key,
    one,
    lanes=len(batch.id),
    chunk=1,  # one step is what is timed
    devices=devices,
  )
  held = jax.tree.map(lambda leaf: leaf[None], batch)
  lane = compiled.start(variables, key, held)
  held = jax.device_put(held, lane.done.sharding)

  def step():
    nonlocal lane
    lane = compiled.advance(variables, key, lane, held)
    return lane.done

  return step, compiled.seconds


_NEVER_ENOUGH = GOALS["strongest"]
