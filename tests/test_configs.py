"""Every config in configs/, and the example in the README."""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxadv import build, entries, keys

REPO = Path(__file__).parents[1]
CONFIGS = sorted((REPO / "configs").glob("*.py"))
README = REPO / "README.md"


def load(path: Path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def script_of(module) -> Path:
  """The experiment that a config's docstring says it is for: the last it names."""
  scripts = re.findall(r"experiments/\w+\.py", inspect.getdoc(module) or "")
  return REPO / scripts[-1]


def choices(path: Path) -> list[tuple[str, ...]]:
  """What may stand behind a config's colon, nothing included."""
  return [(), *((one,) for one in getattr(load(path), "CHOICES", ()))]


def groups(config: ConfigDict):
  """All groups inside a config, however deep."""
  for value in config.values():
    if isinstance(value, ConfigDict):
      yield value
      yield from groups(value)


@pytest.mark.parametrize(
  ("path", "choice"),
  [(path, choice) for path in CONFIGS for choice in choices(path)],
  ids=lambda part: part.stem if isinstance(part, Path) else "".join(part),
)
def test_config(path, choice):
  module = load(path)
  config = module.get_config(*choice)
  assert isinstance(config, ConfigDict)
  # an override of a group that stands in two places would be of both
  found = list(groups(config))
  assert len(found) == len({id(group) for group in found})
  settings = config.to_dict()
  script = script_of(module)
  assert script.is_file()
  known = getattr(keys, f"{script.stem.upper()}_KEYS")
  keys.check(settings, known[settings["kind"]] if "kind" in settings else known)
  if "model" in settings:
    assert build.classifier(settings["model"], 41).network.classes == 41
  for name, entry in settings.get("attacks", {}).items():
    plan = entries.attack_plan(name, entry, target=bool(settings.get("targets")))
    assert plan.attack.steps >= 1
  if "transforms" in settings:
    assert len(build.transforms(settings["transforms"])) > 1
  # the command in its docstring is about this very file
  assert f"configs/{path.name}" in inspect.getdoc(module)


@pytest.mark.parametrize(
  "path", [path for path in CONFIGS if choices(path)[1:]], ids=lambda path: path.stem
)
def test_another_word_behind_the_colon_is_refused(path):
  with pytest.raises(ValueError, match=r"'nope'.*choose from \w+, \w+"):
    load(path).get_config("nope")


def test_the_experiments_of_the_quickstart_fit_together():
  settings = {path.stem: load(path).get_config().to_dict() for path in CONFIGS}
  trained = settings["bundled_victim"]["workdir"]
  for name in ("quickstart", "evaluate"):
    assert settings[name]["victim"] == trained
    assert settings[name]["data"]["root"] == settings["bundled_victim"]["data"]["root"]
    # attacked are clips that the victim was not trained on
    assert settings[name]["data"]["split"] == "test"
  # none can run into another's folder
  folders = {one.get("workdir") or one["out"] for one in settings.values()}
  assert len(folders) == len(settings)


def test_the_readmes_python_example_runs(tmp_path):
  if not README.exists():
    pytest.skip("there is no README.md yet")
  blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.S | re.M)
  assert blocks, "README.md has no ```python block"
  for n, block in enumerate(blocks):
    script = tmp_path / f"example{n}.py"
    script.write_text(block)
    command = [sys.executable, str(script)]
    done = subprocess.run(
      command, cwd=REPO, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("which", ["adaptive", "robust"])
def test_what_attacks_go_through_is_tested_under_the_same_name(which):
  attacks = load(REPO / f"configs/p0_{which}.py").get_config().to_dict()["attacks"]
  tested = load(REPO / f"configs/p0_{which}_transforms.py").get_config().to_dict()
  through = [e["through"] for e in attacks.values() if "through" in e]
  members = [one for entry in through for one in entries.set_members(entry).values()]
  listed = build.transforms(tested["transforms"])
  for member in members:
    known = build.transform("through", member, "")
    assert sum(one.same_as(known) for one in listed) == 1
