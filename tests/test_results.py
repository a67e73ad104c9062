"""Rows: what is appended is what is read, whole or not at all."""

import math
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxadv import results
from jaxadv.errors import InputError

TEXTS = (
  "model",
  "label",
  "clean_label",
  "new_label",
  "found_by",
  "clip_sha256",
  "config_hash",
  "precision",
)
FLAGS = ("clean_correct", "success_loop", "success", "success_pcm16")
WATCHED = ("first_success_step", "nan_steps", "zero_gradients")
NUMBERS = ("duration_s", "gt_conf", "new_conf", "gt_new_conf", "snr_db", "l2", "linf")
GUARDED = ("clipped", "late_drop", "seconds", "snr_of_mean_db")


def row(id: int, attack: str = "pgd", **changes) -> dict:
  """A row whose every field has a value of its own."""
  filled = {"id": id, "attack": attack, "file": f"{id}.wav", "target": "Oboe"}
  filled |= {name: f"{name} {id}" for name in (*TEXTS, "versions", "device")}
  flags = (*FLAGS, "within_threat", "silent_success")
  filled |= {name: (id + n) % 2 == 0 for n, name in enumerate(flags)}
  # float32 holds quarters exactly
  filled |= {name: id + n / 4 for n, name in enumerate((*NUMBERS, *GUARDED))}
  counts = ("steps", "forward_passes", "backward_passes", *WATCHED)
  filled |= {name: 10 * id + n for n, name in enumerate(counts)} | {"seed": 2**40 + id}
  wavs = ("wav", "wav_pcm16", "wav_clean")
  return filled | {name: f"wav/{name}/{id}.wav" for name in wavs} | changes


def parts(folder):
  return sorted(path.name for path in (folder / "rows").iterdir())


def test_every_field_comes_back(tmp_path):
  written = [row(3), row(7, target=None, snr_db=math.inf, gt_conf=None)]
  assert set(written[0]) == set(results.FIELDS)
  results.append(tmp_path, iter(written))
  assert results.read(tmp_path) == written
  # and other programs can read it
  (name,) = parts(tmp_path)
  assert pq.read_table(tmp_path / "rows" / name).to_pylist() == written


def test_rows_are_sorted_by_attack_as_first_seen_and_id(tmp_path):
  for some in ([row(5, "pgd")], [row(9, "fgsm"), row(2, "pgd")], [row(1, "fgsm")]):
    results.append(tmp_path, some)
  order = [(r["attack"], r["id"]) for r in results.read(tmp_path)]
  assert order == [("pgd", 2), ("pgd", 5), ("fgsm", 1), ("fgsm", 9)]
  assert {(r["attack"], r["id"]) for r in results.read(tmp_path)} == set(order)


def test_parts_follow_each_other_past_9(tmp_path):
  for n in range(12):
    results.append(tmp_path, [row(n)])
  assert [r["id"] for r in results.read(tmp_path)] == list(range(12))
  assert len(parts(tmp_path)) == 12


def test_nothing_appended_nothing_there(tmp_path):
  results.append(tmp_path, [])
  assert (
    results.read(tmp_path) == []
    and {(r["attack"], r["id"]) for r in results.read(tmp_path)} == set()
  )
  assert list(tmp_path.iterdir()) == []


def test_a_column_that_an_older_part_lacks_is_null(tmp_path):
  for n in (1, 2):
    results.append(tmp_path, [row(n)])
  older = tmp_path / "rows" / "part-000001.parquet"
  pq.write_table(pq.read_table(older).drop_columns(["snr_of_mean_db"]), older)
  assert results.read(tmp_path) == [row(1, snr_of_mean_db=None), row(2)]


def test_rows_of_a_transfer_are_apart(tmp_path):
  heard = {name: row(1)[name] for name in ("id", "attack", "file", "label", "target")}
  texts = ("method", "source", "model", "clean_label", "new_label", "config_hash")
  heard |= {name: name for name in (*texts, "versions", "device", "source_new_label")}
  heard |= {"source_config_hash": "abc", "snr_db": 40.25, "source_success": True}
  heard |= {"source_clean_correct": False, "gt_conf": 0.5, "new_conf": 0.75}
  heard |= {"gt_new_conf": 0.25}
  results.append(tmp_path, [heard], "transfer")
  results.append(tmp_path, [row(1)])
  assert results.read(tmp_path, "transfer") == [heard]
  assert results.read(tmp_path) == [row(1)]
  assert results.parts(tmp_path, "transfer") == [
    tmp_path / "transfer" / "part-000001.parquet"
  ]
  with pytest.raises(ValueError, match="differ"):
    results.append(tmp_path, [row(1)], "transfer")


def test_what_a_kill_left_behind_is_no_part(tmp_path):
  results.append(tmp_path, [row(1)])
  whole = (tmp_path / "rows" / "part-000001.parquet").read_bytes()
  torn = tmp_path / "rows" / "part-000002.tmp"
  torn.write_bytes(whole[: len(whole) // 2])
  assert results.read(tmp_path) == [row(1)]
  assert {(r["attack"], r["id"]) for r in results.read(tmp_path)} == {("pgd", 1)}
  results.append(tmp_path, [row(2)])
  assert results.read(tmp_path) == [row(1), row(2)]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_earlier_rows_alone(tmp_path, monkeypatch, failing):
  results.append(tmp_path, [row(1)])

  def full(*arguments):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patched, pytest.raises(OSError):
    patched.setattr(os, failing, full)
    results.append(tmp_path, [row(2)])
  assert results.read(tmp_path) == [row(1)]
  assert parts(tmp_path) == ["part-000001.parquet"]
  results.append(tmp_path, [row(2)])
  assert results.read(tmp_path) == [row(1), row(2)]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  events = []
  fsync, replace = os.fsync, os.replace
  monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
  monkeypatch.setattr(
    os, "replace", lambda a, b: (events.append("rename"), replace(a, b))
  )
  results.append(tmp_path, [row(1)])
  assert events == ["fsync", "rename"]


@pytest.mark.parametrize(
  "wrong", [{"colour": "red"}, {"snr": 3.0, "colour": None}], ids=["one", "two"]
)
def test_a_field_that_does_not_exist_raises(tmp_path, wrong):
  with pytest.raises(ValueError, match="colour"):
    results.append(tmp_path, [row(1), row(2, **wrong)])
  assert results.read(tmp_path) == []


@pytest.mark.parametrize("name", results.FIELDS)
def test_a_missing_field_raises(tmp_path, name):
  lacking = row(1)
  del lacking[name]
  with pytest.raises(ValueError, match=name):
    results.append(tmp_path, [lacking])


def test_a_value_of_another_type_raises(tmp_path):
  with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
    results.append(tmp_path, [row(1, success="yes")])
  assert results.read(tmp_path) == []


def test_what_two_processes_stored_twice_is_read_once(tmp_path):
  results.append(tmp_path, [row(1), row(2)])
  results.append(tmp_path, [row(2), row(2, "fgsm")], process=1)
  found = [(r["attack"], r["id"]) for r in results.read(tmp_path)]
  assert found == [("pgd", 1), ("pgd", 2), ("fgsm", 2)]


def test_a_part_that_is_damaged_within_is_said(tmp_path):
  results.append(tmp_path, [row(n) for n in range(50)])
  (path,) = results.parts(tmp_path)
  content = bytearray(path.read_bytes())
  content[4:400] = bytes(396)  # pages, not the footer
  path.write_bytes(content)
  with pytest.raises(InputError, match="is damaged"):
    results.read(tmp_path)
