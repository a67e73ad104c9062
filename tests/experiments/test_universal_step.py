"""What a universal perturbation is trained on, its step, and bad input."""

import re
import shutil

import jax
import numpy as np
import own_victim
import pytest
import soundfile
import tiny

from jaxadv import data, universal, universal_data, universal_step
from jaxadv.errors import InputError

CHUNK, RATE_HZ = 65536, 32000


def settings_of(**changes):
  config = tiny.REPO / "configs/universal.py"
  namespace = {}
  exec(config.read_text(), namespace)
  return namespace["get_config"]().to_dict() | changes


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_an_epoch_has_every_chunk_once(window):
  counts = [1, 3, 2, 1, 5, 1, 1, 4] * 5
  clips, order = universal_data.shuffle(counts, (0, 1), window)
  assert sorted(order) == [(at, n) for at, k in enumerate(counts) for n in range(k)]
  assert sorted(clips) == list(range(len(counts)))
  assert order != sorted(order)
  # a chunk is never asked for long before its clip is decoded
  started = np.cumsum([0, *[counts[at] for at in clips]])
  for place, (at, _) in enumerate(order):
    assert started[clips.index(at)] <= place + window + max(counts)
  assert universal_data.shuffle(counts, (0, 1), window) == (clips, order)
  for other in ((0, 2), (1, 1)):
    assert universal_data.shuffle(counts, other, window)[1] != order


def test_batches_hold_the_clips_and_processes_share_them(dataset, tmp_path):
  root = tmp_path / "data"
  shutil.copytree(dataset, root)
  bad = root / "FSDKaggle2018.audio_train" / "low3.wav"
  soundfile.write(bad, np.zeros(RATE_HZ), RATE_HZ)  # silent: known when it is decoded
  clips = data.read_dataset(root, "train", vocabulary=None).clips
  counts = universal_data.count_chunks(clips)
  settings = settings_of(train={"batch": 7, "epochs": 1})
  settings["data"]["band_limit_hz"] = 0

  def read(index, count, epoch=1):
    skipped = {}
    batches = universal_data.epoch(
      clips, counts, settings, epoch, rows=8, share=(index, count), skipped=skipped
    )
    return list(batches), skipped

  (whole, skipped), parts = read(0, 1), [read(n, 2) for n in range(2)]
  assert list(skipped) == ["low3.wav"] == list(parts[0][1] | parts[1][1])
  assert (
    len(whole) == -(-sum(counts) // 7) == universal_data.count_batches(counts, settings)
  )
  for batch, one, two in zip(whole, parts[0][0], parts[1][0], strict=True):
    assert len(one.id) == len(two.id) == 4
    for mine, first, second in zip(batch, one, two, strict=True):
      np.testing.assert_array_equal(mine, np.concatenate([first, second]))
  later, _ = read(0, 1, epoch=2)
  assert any((one.id != two.id).any() for one, two in zip(whole, later, strict=True))
  seen = []
  by_id = {clip.index: clip for clip in clips}
  for batch in whole:
    for index, x, samples, label in zip(*batch, strict=True):
      if index < 0:
        assert not x.any()
        continue
      clip = by_id[int(index)]
      sound, _ = soundfile.read(clip.path, dtype="float32")
      pieces = [sound[at : at + CHUNK] for at in range(0, len(sound), CHUNK)]
      (n,) = [n for n, p in enumerate(pieces) if np.array_equal(p, x[:samples])]
      assert label == clip.label and not x[samples:].any()
      seen.append((clip.file, n))
  assert len(set(seen)) == len(seen) == sum(counts) - 1


COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "permute")


def test_a_step_is_one_all_reduce_over_the_rows_that_count():
  """Sums and move of 4 devices, two of which hold loud nonsense, and of 2 without."""
  settings, victim = settings_of(train={"batch": 3}), own_victim.function()
  plan = universal_step.plan_of(settings, 10)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4, CHUNK)).astype(np.float32) / 8
  label, samples = np.int32([0, 1, 2, 0]), np.int32([CHUNK, CHUNK, 30000, CHUNK])
  x[2, 30000:] = 0
  some = universal_data.Batch(np.int32([5, -1, 7, -1]), x, samples, label)
  few = universal_data.Batch(*(leaf[[0, 2]] for leaf in some))
  ends = []
  for batch, count in ((some, 4), (few, 2)):
    made = universal_step.trainer(plan, victim, settings, jax.devices()[:count])
    assert made.rows == 4
    lane, variables = made.start(victim.variables), made.replicate(victim.variables)
    given = variables, made.replicate(lane), made.split(batch)
    lowered = made.step.lower(*given)
    # one as it is written: compilers may join several
    assert lowered.as_text().count("stablehlo.all_reduce") == 1
    program = lowered.compile()
    text = program.as_text()
    found = {one: len(re.findall(rf" {one}(-start)?\(", text)) for one in COLLECTIVES}
    assert found == dict.fromkeys(COLLECTIVES, 0) | {"all-reduce": 1}
    lane, sums = program(*given)
    ends.append((np.asarray(lane.state.candidate), jax.device_get(sums)))
  (u, sums), (v, others) = ends
  assert np.linalg.norm(u - v) < 1e-4 * np.linalg.norm(v) > 0
  np.testing.assert_allclose(sums, others, rtol=1e-5, atol=1e-9)
  assert sums.clips == 2 and isinstance(sums, universal.Sums)
  assert sums.signal == pytest.approx((x[[0, 2]] ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"target": "Nope"}, "target is 'Nope', which loudest does not know: .*high"),
    ({"mask__start_s": 1.0, "mask__end_s": 2.5}, "mask is 1.0 to 2.5 s: .*2.048"),
    ({"mask__start_s": 1.0}, "mask is 1.0 to 0.0 s"),
    ({"mask__start_s": 1.00001, "mask__end_s": 1.00002}, "holds no sample of a chunk"),
    ({"mask__low_hz": 50.1, "mask__high_hz": 50.2}, "holds none of the frequencies"),
    ({"mask__low_hz": 9000.0}, "band 9000.0 to 0.0 Hz"),
    ({"mask__high_hz": 9e3, "mask__end_s": 1.0}, "limited in both"),
    ({"train__batch": 31}, "train.batch is 31 and the clips .* have 27 chunks"),
    ({"attacks__universal__norm": "l7"}, "attacks.universal.norm is 'l7'"),
    ({"attacks__universal__method": "deepfool"}, "'deepfool', which does not learn"),
    ({"attacks__universal__budget": "dB"}, "attacks.universal.budget is 'dB'"),
    ({"attacks__universal__step_size": -1.0}, "step_size is -1.0"),
    ({"victim": "bundled/vgg13,bundled/crnn"}, "victim is .* give one"),
    ({"victim": "bundled/nope"}, "bundled/nope.*choose from"),
    ({"test_victims": ""}, "test_victims names no victim"),
    ({"data__test_split": "exam"}, "exam"),
    ({"runtime__distributed": "me"}, "runtime.distributed is 'me'"),
  ],
  ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_sentence(changes, said, dataset, tmp_path, capsys):
  place = "tests/experiments/own_victim.py:function"
  asked = tiny.universal(dataset, tmp_path / "run", **({"victim": place} | changes))
  ended = tiny.call(asked, capsys)
  assert re.search(said, tiny.sentence(ended))
  assert not (tmp_path / "run" / "history.csv").exists()


def test_two_attacks_in_one_run_are_refused():
  settings = settings_of()
  settings["attacks"]["more"] = settings["attacks"]["universal"]
  with pytest.raises(InputError, match=r"attacks has universal, more: give one"):
    universal_step.plan_of(settings)
  for key in ("steps", "runs"):
    bad = settings_of()
    bad["attacks"]["universal"][key] = 5
    with pytest.raises(InputError, match=rf"attacks.universal.{key} has no meaning"):
      universal_step.plan_of(bad)
