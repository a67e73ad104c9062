"""A run in bfloat16: judged in float32 as any other, and refused where it can't be."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from jaxadv import results

FILE = Path(__file__).parent / "own_victim.py"


def test_an_attack_in_bfloat16_is_judged_in_float32(
  dataset, victim, attacked, says, tmp_path
):
  folder = tmp_path / "run"
  only = {"precision": "bfloat16", "runtime__only": "pgd", "runtime__guards": False}
  tiny.succeed(tiny.attack(dataset, victim, folder, **only))
  rows = results.read(folder)
  default = {row["id"]: row for row in results.read(attacked[0])}
  assert {row["precision"] for row in rows} == {"bfloat16"}
  assert {row["precision"] for row in default.values()} == {"default"}
  for row in rows:
    heard = says(folder / row["wav"])
    assert np.isclose(row["new_conf"], heard.max(), atol=1e-5)
    # the clean clip was judged by the same network, though attacked by another
    assert row["gt_conf"] == default[row["id"]]["gt_conf"]
  pairs = [(row["l2"], default[row["id"]]["l2"]) for row in rows]
  assert rows and any(coarse != fine for coarse, fine in pairs)


@pytest.mark.parametrize("command", [tiny.attack, tiny.universal])
def test_a_function_of_ones_own_has_no_bfloat16(dataset, tmp_path, capsys, command):
  values = {"precision": "bfloat16"}
  if command is tiny.attack:
    asked = tiny.attack(dataset, f"{FILE}:function", tmp_path / "run", **values)
  else:
    asked = tiny.universal(dataset, tmp_path / "run", f"{FILE}:function", **values)
  said = tiny.sentence(tiny.call(asked, capsys))
  assert "'bfloat16'" in said and "'loudest'" in said and "'highest'" in said
  assert not (tmp_path / "run").exists()
