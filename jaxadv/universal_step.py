"""From a config to the compiled step that trains one perturbation on all devices.

Data parallel by `jax.shard_map`, not by the engine's pmap: the engine's lanes exchange
nothing, and its compiled step says so. Here the one all-reduce of a step is written in
`universal.bind_split`, and arrays may span the devices of several processes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxadv import entries
from jaxadv.core import Example
from jaxadv.data.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ
from jaxadv.drive import Lane, driver
from jaxadv.errors import InputError
from jaxadv.inference import MATMUL
from jaxadv.norm_lifts import band_limited, in_band
from jaxadv.universal import LATEST, Sums, bind_split, bind_universal, shared
from jaxadv.universal_data import Batch
from jaxadv.victim import Victim

METHODS = ("pgd", "bim")  # whose step asks evaluate_with_grad once, and nothing else
_NOT_HERE = ("steps", "goal", "through", "draws", "search_steps", "runs")
_AXIS = "clips"
_EVERYWHERE, _SPLIT = PartitionSpec(), PartitionSpec(_AXIS)


def plan_of(settings: Mapping[str, Any], steps: int = 2) -> entries.AttackPlan:
  """The attack that a config names, of so many steps; its budget inside the band.

  InputError for an attack that minibatches can't drive, and for a band that is none.
  """
  if len(settings["attacks"]) != 1:
    raise InputError(
      f"attacks has {', '.join(settings['attacks']) or 'no entry'}: give one, since a "
      "run trains one perturbation"
    )
  ((name, entry),) = settings["attacks"].items()
  if isinstance(entry, Mapping):
    if entry.get("method", METHODS[0]) not in METHODS:
      raise InputError(
        f"attacks.{name}.method is {entry['method']!r}, which does not learn from "
        f"minibatches: choose from {', '.join(METHODS)}"
      )
    for key in set(_NOT_HERE) & set(entry):
      raise InputError(
        f"attacks.{name}.{key} has no meaning for minibatches, of which there are "
        "train.epochs times those of an epoch: leave it out"
      )
    # the start is judged besides: as many points as minibatches
    entry = {**entry, "steps": max(1, steps - 1)}
  plan = entries.attack_plan(name, entry, target=bool(settings["target"]))
  mask = settings["mask"]
  if not mask["low_hz"] and not mask["high_hz"]:
    return plan
  if mask["start_s"] or mask["end_s"]:
    raise InputError(
      f"mask has hertz ({mask['low_hz']} to {mask['high_hz']}) and seconds, and no "
      "sound is limited in both: give one of them"
    )
  band = mask["low_hz"], mask["high_hz"], SAMPLE_RATE_HZ
  norm = band_limited(plan.threat.norm, *band)
  in_band(CHUNK_SAMPLES, *band)  # refused before anything is read
  return plan._replace(threat=plan.threat._replace(norm=norm))


def mask_of(settings: Mapping[str, Any]) -> np.ndarray:
  """1 where the perturbation may write. float32 [CHUNK_SAMPLES]."""
  start_s, end_s = settings["mask"]["start_s"], settings["mask"]["end_s"]
  if not start_s and not end_s:
    return np.ones(CHUNK_SAMPLES, np.float32)
  longest_s = CHUNK_SAMPLES / SAMPLE_RATE_HZ
  if not start_s < end_s <= longest_s:
    raise InputError(
      f"mask is {start_s} to {end_s} s: give 0 <= start_s < end_s <= {longest_s}, the "
      "length of a chunk"
    )
  at_s = np.arange(CHUNK_SAMPLES) / SAMPLE_RATE_HZ
  inside = (at_s >= start_s) & (at_s < end_s)
  if not inside.any():
    raise InputError(
      f"mask is {start_s} to {end_s} s, which holds no sample of a chunk: give more of "
      "it"
    )
  return inside.astype(np.float32)


class Trainer(NamedTuple):
  """start: variables -> Lane. step: variables, Lane, Batch -> Lane, Sums; jitted.

  rows: of a batch over all processes, a multiple of the devices.
  """

  start: Callable[[Any], Lane]
  step: Any
  rows: int
  mesh: Mesh

  def replicate(self, tree: Any) -> Any:
    """On every device of every process, which all hold the same."""
    return jax.device_put(jax.device_get(tree), NamedSharding(self.mesh, _EVERYWHERE))

  def split(self, batch: Batch) -> Batch:
    """Over the devices of all processes, each of which gives its own rows."""
    sharding = NamedSharding(self.mesh, _SPLIT)
    put = jax.make_array_from_process_local_data
    return Batch(*(put(sharding, leaf) for leaf in batch))


def trainer(
  plan: entries.AttackPlan,
  victim: Victim,
  settings: Mapping[str, Any],
  devices: Sequence[Any],
  target: int = -1,
) -> Trainer:
  """The programs that hold u on all devices and split each batch among them."""
  mask, mesh = jnp.asarray(mask_of(settings)), Mesh(np.asarray(devices), (_AXIS,))
  given = victim.logits, plan.threat, plan.objective

  def key():
    return jax.random.key(settings["seed"])

  def example(batch: Batch) -> Example:
    own = (jnp.arange(CHUNK_SAMPLES) < batch.samples[:, None]).astype(jnp.float32)
    aims = jnp.full_like(batch.label, target)
    return shared(Example(batch.id, batch.x, own, batch.label, aims), mask)

  def start(variables):
    none = jnp.zeros(1, jnp.int32)
    silence = Batch(none, jnp.zeros((1, CHUNK_SAMPLES)), none, none)
    drive = driver(plan.attack, bind_universal(*given), LATEST)
    return drive.start(variables, key(), example(silence))

  def step(variables, lane, batch):
    told: list[Sums] = []
    drive = driver(plan.attack, bind_split(*given, _AXIS, told.append), LATEST)
    with jax.default_matmul_precision(MATMUL[settings["precision"]]):
      lane = drive.advance(variables, key(), lane, example(batch))
    return lane, told[0]

  split = jax.shard_map(
    step,
    mesh=mesh,
    in_specs=(_EVERYWHERE, _EVERYWHERE, _SPLIT),
    out_specs=_EVERYWHERE,
    check_vma=False,  # a user's victim may hold gradient rules that know of no mesh
  )
  rows = -(-settings["train"]["batch"] // len(devices)) * len(devices)
  return Trainer(jax.jit(start), jax.jit(split), rows, mesh)
