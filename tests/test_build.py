"""Names in configs become objects, or one sentence."""

import numpy as np
import pytest

from jaxadv import build
from jaxadv.errors import InputError

MODEL = {
  "frontend": "waveform",
  "network": "dense_wav",
  "width": 0.125,
  "bn_momentum": 0.9,
  "options": {"kernel": 5, "pool": 2},
}


def test_transforms_are_built_in_order_with_their_names():
  made = build.transforms(
    {
      "quiet": {"transform": "gain", "gain_db": -20.0},
      "both": {
        "transform": "chain",
        "a": {"transform": "gain", "gain_db": -20.0},
        "b": {"transform": "bit_depth", "bits": 4},
      },
    }
  )
  assert [transform.name for transform in made] == ["quiet", "both"]
  x = np.linspace(-0.9, 0.9, 1600).astype(np.float32)
  rng = np.random.default_rng(0)
  np.testing.assert_allclose(made[0](x, rng), 0.1 * x, rtol=1e-5)
  # quantised after the gain: 16 levels, of which a tenth of the range meets few
  assert len(np.unique(made[1](x, rng))) <= 4


def test_options_are_the_networks_own():
  network = build.classifier(MODEL, 7).network
  assert (network.kernel, network.pool, network.width) == (5, 2, 0.125)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"frontend": "log_mel_attack"}, "takes a waveform: choose from waveform"),
    ({"network": "crnn", "options": {}}, "takes a spectrogram: choose from log_mel"),
    ({"options": {"depth": 3}}, "model.options.depth is no option"),
    ({"options": {"pool": 0}}, "model.options.pool is 0: give at least 1"),
    ({"options": {"kernel": 4}}, "model.options.kernel is 4: give an odd number"),
    ({"options": {"pool": "big"}}, "model.options.pool is 'big'"),
  ],
)
def test_a_model_that_does_not_fit_together(changes, said):
  with pytest.raises(InputError, match=said):
    build.classifier(MODEL | changes, 7)


@pytest.mark.parametrize("place", ["own_filter", "own_filter.py"])
def test_a_function_counts_by_its_file(tmp_path, monkeypatch, place):
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  config = {"mine": {"transform": "user", "function": f"{place}:same"}}
  (tmp_path / "own_filter.py").write_text("def same(x):\n  return x\n")
  before = build.files_read(config)
  assert set(before) == {place} and build.files_read(config) == before
  (tmp_path / "own_filter.py").write_text("def same(x):\n  return -x\n")
  assert build.files_read(config)[place] != before[place]
  assert build.files_read({"mine": {"function": "no.such_module:same"}}) == {}
