"""The comparison with other libraries; skipped where torch is not installed."""

import functools
import importlib
import importlib.metadata
import importlib.util
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import ATTACKS
from jaxadv.ensemble import ENSEMBLES
from jaxadv.errors import InputError
from jaxadv.models import GCNN, VGG13, Classifier
from jaxadv.models.frontends import CHUNK_SAMPLES, log_mel_attack
from jaxadv.victim import of_function

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import torch

from peers import compare, measure, tables
from peers.torch_victims import Images, TorchVictim, export, to_images

LIBRARIES = ("foolbox", "art", "torchattacks", "adv_lib", "cleverhans")


def config(name: str) -> Any:
  path = Path(__file__).parents[2] / "configs" / f"{name}.py"
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@functools.cache
def victim(network: type) -> tuple[Classifier, Any]:
  """A narrow victim of 4 classes, random in every leaf."""
  model = Classifier(log_mel_attack, network(4, 1 / 64))
  key, x = jax.random.key(0), jnp.zeros(CHUNK_SAMPLES)
  rng = np.random.default_rng(0)

  def leaf(path, shape):
    name = jax.tree_util.keystr(path)
    if "scaler" in name:
      return np.float32(17.0 if "deviation" in name else -40.0)
    if "'var'" in name or "'scale'" in name:
      return rng.uniform(0.5, 2, shape.shape).astype(np.float32)
    fan_in = math.prod(shape.shape[:-1])
    gain = np.sqrt(2 / fan_in) if fan_in > 1 else 0.2
    return (rng.normal(size=shape.shape) * gain).astype(np.float32)

  return model, jax.tree_util.tree_map_with_path(
    leaf, jax.eval_shape(model.init, key, x)
  )


def clips(chunks: int = 1) -> np.ndarray:
  """Noise of two colours and silence. [3, samples]."""
  x = np.random.default_rng(1).normal(0, 0.1, (3, chunks * CHUNK_SAMPLES))
  x[1] = np.cumsum(x[1]) / 100 % 0.5
  x[2] = 0
  return x.astype(np.float32)


@pytest.mark.parametrize(("network", "chunks"), [(VGG13, 1), (GCNN, 2)])
def test_torch_says_what_we_say(network, chunks):
  model, variables = victim(network)
  images, said = export(model, variables, clips(chunks))
  assert isinstance(images, Images) and "logits" in said


def test_a_victim_that_differs_is_refused(monkeypatch):
  model, variables = victim(VGG13)
  logits = TorchVictim.forward
  monkeypatch.setattr(TorchVictim, "forward", lambda self, x: 1.001 * logits(self, x))
  with pytest.raises(InputError, match="differ by"):
    export(model, variables, clips())


def test_passes_are_counted_by_example():
  images = Images(TorchVictim(*victim(VGG13)))
  u = to_images(clips(), (1, 1, CHUNK_SAMPLES)).requires_grad_(True)
  logits = images(u)
  assert (images.forwards, images.backwards) == (3, 0)
  for k in range(2):
    torch.autograd.grad(logits[:, k].sum(), u, retain_graph=True)
  assert (images.forwards, images.backwards) == (3, 6)
  with torch.no_grad():
    images(u[:2])
  assert (images.forwards, images.backwards) == (5, 6)


def test_what_leaves_ball_or_box_or_is_not_finite_is_said():
  x = np.zeros((4, 8), np.float32)
  x[3] = 0.999
  found = np.zeros((4, 8), np.float32) + x
  found[0, 0], found[1, 0], found[2, 0], found[3, 0] = 0.1, 0.102, np.nan, 1.01
  said = measure.judged(
    measure.Found(found, 1, 1, 0.0),
    measure.Clips(list("abcd"), x, np.zeros(4, int)),
    "linf",
    0.1,
    lambda x: np.stack([-(x != 0).any(1).astype(float), np.zeros(len(x)) - 0.5], 1),
  )
  assert said["success"] == [True, True, False, True]
  assert said["outside"] == 2 and said["not_finite"] == 1
  np.testing.assert_allclose(said["size"], [0.1, 0.102, 0, 0.011], rtol=1e-4)


def row(library, success, size, backward, **more) -> dict[str, Any]:
  return {
    "victim": "v",
    "attack": "a",
    "library": library,
    "variant": library,
    "method": "deepfool",
    "norm": "l2",
    "limit": float("inf"),
    "files": ["x"] * len(success),
    "success": success,
    "size": size,
    "outside": 0,
    "not_finite": 0,
    "largest": max(size),
    "forward": backward,
    "backward": backward,
    "seconds": 1.0,
    **more,
  }


@pytest.mark.parametrize(
  ("ours", "goal"),
  [
    (row("jaxadv", [True] * 3, [1.0, 1.0, 1.0], 5), "holds"),
    (row("jaxadv", [True] * 3, [1.0, 1.02, 2.0], 5), "misses median"),
    (row("jaxadv", [True, True, False], [0.1] * 3, 6), "misses success, gradients"),
  ],
)
def test_the_goal_is_held_against_the_best_peer(ours, goal):
  peers = [
    row("far", [True] * 3, [2.0, 2.0, 2.0], 1),
    row("near", [True] * 3, [1.0, 1.0, 3.0], 5),
    row("cheat", [True] * 3, [0.5] * 3, 1, outside=2, limit=0.1),
  ]
  table = tables.make([*peers, ours], [])[1]
  assert table.rows[0][2].startswith("near") and table.rows[0][-1] == goal


def test_a_failure_counts_as_infinite_in_the_median():
  found = tables.numbers(row("a", [True, False, False], [1.0, 0.1, 0.1], 1))
  assert found["median"] == np.inf and found["mean"] == 1.0


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_counterpart_is_one_of_our_attacks(library):
  if importlib.util.find_spec(library) is None:
    pytest.skip(f"{library} is not installed")
  module = importlib.import_module(f"peers.from_{library}")
  ours = {"pgd_adam", "mim", "apgd_dlr", *ATTACKS, *ENSEMBLES}
  assert module.RUNS and importlib.metadata.version(module.PACKAGE)
  assert len({(r.method, r.norm, r.variant) for r in module.RUNS}) == len(module.RUNS)
  assert {r.method for r in module.RUNS} <= ours


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_counterpart_is_in_the_table(library):
  """And where it can be told targets, one of its kind is told them."""
  if importlib.util.find_spec(library) is None:
    pytest.skip(f"{library} is not installed")
  entries = config("bench_peers").compared.to_dict().values()
  asked: dict[bool, set] = {True: set(), False: set()}
  for entry in entries:
    name = entry.get("peers", {}).get("counterpart", entry["method"])
    asked[entry.get("targeted", False)].add((name, entry["norm"]))
  runs = importlib.import_module(f"peers.from_{library}").RUNS
  assert {(run.method, run.norm) for run in runs} <= asked[False]
  towards = {run.method for run in runs if run.targeted}
  assert towards <= {name for name, _ in asked[True]}


def linear() -> compare.Subject:
  """A linear victim of 4 classes and 16 samples, and 3 clips of class 0."""
  rng = np.random.default_rng(2)
  weights = rng.normal(size=(16, 4)).astype(np.float32)
  x = rng.normal(0, 0.05, (64, 16)).astype(np.float32)
  x = x[(x @ weights).argmax(1) == 0][:3]
  logits = lambda variables, x: x @ variables  # noqa: E731
  ours = of_function("linear", logits, weights, list("abcd"))
  module = torch.nn.Linear(16, 4, bias=False)
  module.weight.data = torch.tensor(weights.T.copy())
  chosen = measure.Clips(list("xyz"), x, np.zeros(3, int))
  theirs = Images(module)  # pyright: ignore[reportArgumentType]
  return compare.Subject(ours, chosen, theirs, lambda x: x @ weights)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_targeted_entry_asks_everyone_for_the_next_class(library):
  if importlib.util.find_spec(library) is None:
    pytest.skip(f"{library} is not installed")
  entry = {"method": "pgd", "norm": "linf", "radius": 1.0, "steps": 10}
  asked = compare.ask("a", entry | {"targeted": True}, linear())
  modules = compare.libraries(f"jaxadv,{library}")
  sides = list(compare.sides(asked, modules))
  assert [side[0] for side in sides] == ["jaxadv", library]
  for _, variant, _, attack in sides:
    found = attack(0, 0)
    assert (asked.subject.logits(found.x).argmax(1) == 1).all(), variant
  aimless = {"method": "deepfool", "norm": "l2", "targeted": True}
  asked = compare.ask("a", aimless, linear())
  assert [side[0] for side in compare.sides(asked, modules)] == ["jaxadv"]


def test_a_row_is_redone_only_where_the_run_makes_it_again(tmp_path, monkeypatch):
  monkeypatch.setattr(compare, "load_victim", lambda path: linear().victim)
  monkeypatch.setattr(compare, "prepare", lambda victim, settings: (linear(), "linear"))
  entry = {"method": "fgsm", "norm": "linf", "radius": 1.0}
  settings = {
    "workdir": str(tmp_path / "first"),
    "victims": "linear",
    "seed": 0,
    "only": "",
    "compared": {"a": entry, "b": entry},
    "runtime": {"threads": 1, "libraries": "jaxadv", "redo": "", "limit_s": 0},
  }
  compare.run(settings, "here")
  # the first one's lock is held until this process ends
  shutil.copytree(tmp_path / "first", tmp_path / "second")
  kept = tmp_path / "second" / "rows.json"
  rows = json.loads(kept.read_text())
  assert [row["attack"] for row in rows] == ["a", "b"]
  others = [{**row, "library": "foolbox"} for row in rows]
  old = [{**row, "seconds": -1.0} for row in rows + others]
  kept.write_text(json.dumps(old))
  runtime = settings["runtime"] | {"redo": "a,foolbox"}
  moved = {"workdir": str(tmp_path / "second"), "only": "a", "runtime": runtime}
  compare.run(settings | moved, "here")
  seconds = {
    (row["library"], row["attack"]): row["seconds"]
    for row in json.loads(kept.read_text())
  }
  again = seconds.pop(("jaxadv", "a"))
  assert again >= 0 and set(seconds.values()) == {-1.0} and len(seconds) == 3


@pytest.mark.parametrize("name", ["bench_peers", "bench_speed"])
def test_what_a_config_compares_can_be_built(name):
  for place, entry in config(name).compared.to_dict().items():
    asked = compare.ask(place, entry, linear())
    assert asked.plan.attack.steps >= 1
    assert (asked.subject.clips.targets is None) == (not entry.get("targeted"))
