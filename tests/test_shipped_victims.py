"""The victims that come with the package: complete, small, and better than chance."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jaxadv
from jaxadv import data
from jaxadv.errors import InputError
from jaxadv.judge import judge
from jaxadv.victim import load_victim

NAMES = ("vgg13", "crnn", "gcnn", "dense_mel", "dense_wav")
FOLDER = Path(jaxadv.__file__).parent / "models" / "trained"


@pytest.fixture(scope="module")
def clips() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Two test clips of each class, of one chunk: [28, 65536], labels, classes."""
  dataset = data.read_dataset("bundled", "test")
  short = [
    clip
    for chunks, some in data.by_bucket(dataset.clips)
    for clip in some
    if chunks == 1
  ]
  chosen = [
    clip
    for label in range(len(dataset.classes))
    for clip in [clip for clip in short if clip.label == label][:2]
  ]
  loaded = list(data.load(chosen))
  return (
    np.stack([one.x for one in loaded]),
    np.array([clip.label for clip in chosen]),
    dataset.classes,
  )


@pytest.mark.parametrize("name", NAMES)
def test_it_is_right_far_more_often_than_chance(name, clips):
  x, label, classes = clips
  victim = load_victim(f"bundled/{name}")
  assert victim.name == name and victim.classes == classes
  # random parameters would not do it: 1 of 14 by chance
  said = judge(victim.logits)(victim.variables, x).argmax(1)
  assert len(label) == 28 and (said == label).mean() > 0.4


def test_all_of_them_fit_in_10_mb_and_nothing_in_them_is_a_pickle():
  files = [path for path in FOLDER.rglob("*") if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 10e6
  assert {path.name for path in files} == {
    "victim.json",
    "variables.safetensors",
    "card.md",
  }
  assert {path.parent.name for path in files} == set(NAMES)


def test_a_victim_that_is_not_there():
  with pytest.raises(InputError, match=r"'bundled/vgg'.*bundled/crnn, .*bundled/vgg13"):
    load_victim("bundled/vgg")


def test_weights_on_disk_are_float32():
  for name in NAMES:
    leaves = jax.tree.leaves(load_victim(f"bundled/{name}").variables)
    assert all(leaf.dtype == np.float32 for leaf in leaves)
