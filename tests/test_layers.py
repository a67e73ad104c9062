"""Who imports whom: the table of DESIGN.md, held against the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxadv"

# what each part of jaxadv may import of jaxadv; a package may import itself
CORE = {"norms", "losses", "core"}
STAGES = CORE | {"attacks", "models", "data", "problem", "drive", "engine", "errors"}
ALLOWED = {
  "__init__": set(),
  "errors": set(),
  "hyperplane": set(),
  "norms": {"errors", "hyperplane"},
  "losses": {"errors"},
  "norm_lifts": {"norms", "errors"},
  "planted": CORE | {"problem"},
  "judge": set(),
  "models": set(),
  "results": {"errors", "workdir"},
  "data": {"errors"},
  "transforms": {"errors", "data"},
  "core": {"norms", "losses", "errors"},
  "attacks": CORE | {"errors"},
  "problem": CORE | {"errors"},
  "inputs": CORE | {"errors"},
  "probe": CORE,
  "slopes": {"probe"},
  "guards": CORE | {"errors", "inputs", "probe", "slopes"},
  "drive": CORE | {"inputs"},
  "lanes": {"drive"},
  "memory": set(),
  "compile_cache": set(),
  "engine": CORE | {"drive", "lanes", "memory"},
  "universal": CORE | {"problem"},
  "segments": {"data"},
  "training": {"models", "segments"},
  "epochs": {"errors", "models", "segments", "training"},
  "cost": set(),
  "predictions": {"errors", "workdir"},
  "workdir": {"errors"},
  "cli": {"errors", "compile_cache", "memory", "profiling"},
  "profiling": set(),
  "report": {"results", "errors", "predictions", "workdir"},
  "ensemble": STAGES | {"inputs"},
  "keys": {"errors"},
  "build": {"data", "errors", "keys", "models", "transforms"},
  "entries": STAGES | {"build", "ensemble", "keys", "norm_lifts", "transforms"},
  "cluster": {"errors"},
  "checkpoint": {"errors", "workdir"},
  "victim": STAGES | {"build", "checkpoint", "keys", "workdir"},
  "inference": {"errors", "models", "victim"},
  "record": STAGES | {"entries", "ensemble", "judge", "results", "victim", "workdir"},
  "jobs": {"core", "data", "errors", "record"},
  "attack_run": STAGES
  | {"entries", "ensemble", "jobs", "record", "victim", "workdir"}
  | {"compile_cache", "inference", "memory"},
  "universal_data": {"data", "errors"},
  "universal_step": STAGES
  | {"entries", "inference", "norm_lifts", "universal", "universal_data", "victim"},
  "universal_run": STAGES
  | {"epochs", "universal", "universal_data", "universal_step", "victim", "workdir"},
  "universal_judge": STAGES | {"judge", "universal", "victim", "workdir"},
  "stored": {"build", "entries", "errors", "report", "transforms"},
  "preflight": STAGES
  | {"entries", "guards", "jobs", "inputs", "record", "victim", "workdir"},
}
DEVICE_STAGE = {
  *("norms", "losses", "core", "attacks", "problem", "drive", "engine", "judge"),
  *("universal", "norm_lifts", "planted", "hyperplane", "lanes", "memory"),
  *("inputs", "probe", "slopes", "guards", "ensemble"),
  *("models", "errors", "__init__"),
}
DEVICE_LIBRARIES = {"jax", "flax", "optax", "chex", "numpy", "jaxadv"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
  """The module or package of jaxadv that a file belongs to."""
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
  """Full dotted names of all that a file imports, inside functions too."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path.name}: relative import"
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return found


def of_jaxadv(path: Path) -> set[str]:
  names = (name.split(".") for name in imports(path))
  return {name[1] for name in names if name[0] == "jaxadv" and len(name) > 1}


EACH_SOURCE = pytest.mark.parametrize(
  "path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE))
)


@EACH_SOURCE
def test_imports_go_down_the_layers(path):
  assert part(path) in ALLOWED, f"give {part(path)} a line in ALLOWED"
  extra = of_jaxadv(path) - ALLOWED[part(path)] - {part(path)}
  assert not extra, f"{path.name} may not import {sorted(extra)}"


def test_the_table_has_no_cycle_and_no_ghost():
  assert set(ALLOWED) == {part(path) for path in SOURCES}
  placed: set[str] = set()
  while ready := {p for p, below in ALLOWED.items() if below - {p} <= placed} - placed:
    placed |= ready
  assert placed == set(ALLOWED)


@EACH_SOURCE
def test_the_device_stage_needs_device_libraries_only(path):
  if part(path) in DEVICE_STAGE:
    outside = {name.split(".")[0] for name in imports(path)} - DEVICE_LIBRARIES
    assert outside <= sys.stdlib_module_names


@EACH_SOURCE
def test_the_data_stage_has_no_jax(path):
  if part(path) in ("data", "report", "results"):
    assert not {"jax", "flax", "optax"} & {n.split(".")[0] for n in imports(path)}


def names_used(path: Path) -> set[str]:
  found = {name.split(".")[-1] for name in imports(path)}
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Attribute):
      found.add(node.attr)
    elif isinstance(node, ast.Name):
      found.add(node.id)
  return found


def test_pmap_is_in_the_engine_only():
  sources = [*SOURCES, *(ROOT / "experiments").glob("*.py")]
  assert [p.name for p in sources if "pmap" in names_used(p)] == ["engine.py"]


def test_experiments_are_imported_by_nobody():
  for path in SOURCES:
    assert not {"experiments", "configs"} & {n.split(".")[0] for n in imports(path)}


BLOCKED = [
  *("PIL", "grain", "jinja2", "librosa", "matplotlib", "ml_collections", "orbax"),
  *("pyarrow", "scipy", "sklearn", "soundfile", "soxr", "torch", "tqdm"),
]
MINIMAL = f"""
import sys

class Absent:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in {BLOCKED!r}:
      raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Absent())
try:
  import soundfile
  raise SystemExit("nothing is blocked")
except ModuleNotFoundError:
  pass
import jaxadv
from jaxadv.attacks import pgd
import jaxadv.engine, jaxadv.models, jaxadv.problem, jaxadv.judge
assert pgd(steps=3).steps == 4
"""


def test_the_device_stage_works_in_a_minimal_install():
  done = subprocess.run(
    [sys.executable, "-c", MINIMAL], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr
