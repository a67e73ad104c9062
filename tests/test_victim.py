"""A victim on disk comes back as it was, on this host's device."""

import jax
import numpy as np
import pytest

from jaxadv import build, victim
from jaxadv.errors import InputError

MODEL = {
  "frontend": "log_mel_attack",
  "network": "vgg13",
  "width": 1 / 64,
  "bn_momentum": 0.9,
  "options": {},
}
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def variables():
  model = build.classifier(MODEL, len(CLASSES))
  # a checkpoint remembers its devices; the first may not be where it was trained
  with jax.default_device(jax.devices()[1]):
    return model.init(jax.random.key(0), np.zeros(65536, np.float32))


def test_round_trip_from_another_device(tmp_path, variables):
  victim.save_victim(tmp_path, MODEL, CLASSES, variables)
  loaded = victim.load_victim(str(tmp_path))
  assert loaded.classes == CLASSES
  for saved, got in zip(
    jax.tree.leaves(variables), jax.tree.leaves(loaded.variables), strict=True
  ):
    np.testing.assert_array_equal(saved, got)
    assert saved.devices() == {jax.devices()[1]}
    assert got.devices() == {jax.devices()[0]}


def test_digest_tells_weights_apart(tmp_path, variables):
  other = jax.tree.map(lambda leaf: leaf, variables)
  other["params"]["network"]["Dense_0"]["bias"] += 1e-6
  digests = []
  for at, some in enumerate((variables, other, variables)):
    victim.save_victim(tmp_path / str(at), MODEL, CLASSES, some)
    digests.append(victim.load_victim(str(tmp_path / str(at))).digest)
  assert digests[0] == digests[2] != digests[1]


def test_other_classes_are_another_architecture(tmp_path, variables):
  victim.save_victim(tmp_path, MODEL, (*CLASSES, "d"), variables)
  with pytest.raises(InputError, match="another architecture"):
    victim.load_victim(str(tmp_path))


def test_several_are_told_apart_by_their_names(tmp_path, variables):
  for place in ("a/one", "b/one", "b/two"):
    victim.save_victim(tmp_path / place, MODEL, CLASSES, variables)
  some = victim.load_victims(f"{tmp_path}/a/one,{tmp_path}/b/two")
  assert [one.name for one in some.values()] == ["one", "two"]
  with pytest.raises(InputError, match="are called 'one': rename"):
    victim.load_victims(f"{tmp_path}/a/one,{tmp_path}/b/one")
  with pytest.raises(InputError, match="no victim is named"):
    victim.load_victims("")
