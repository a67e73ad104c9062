"""Rows: one per example and attack. The only module that knows the file format.

A run's folder holds `rows/part-NNNNNN.parquet`. Each `append` writes one new part
under a temporary name and renames it, so a reader sees a part whole or not at all, and
a run killed at any moment loses nothing that was appended. Rows of a finished example
are never rewritten: a resumed run skips every (attack, id) that has a row.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jaxadv.errors import InputError
from jaxadv.workdir import write_bytes

_SCHEMA = pa.schema(
  [
    ("id", pa.int64()),  # of the example: folds into the random keys
    ("attack", pa.string()),  # its name in the config
    ("model", pa.string()),
    ("file", pa.string()),
    ("duration_s", pa.float32()),  # of the clip, without padding
    ("label", pa.string()),  # ground truth
    ("target", pa.string()),  # null: untargeted
    ("clean_label", pa.string()),  # what the model says of the clean clip
    ("new_label", pa.string()),  # what it says of the stored adversarial
    ("clean_correct", pa.bool_()),
    ("gt_conf", pa.float32()),  # P(label | clean)                P1 "GT"
    ("new_conf", pa.float32()),  # P(new_label | adversarial)     P1 "New"
    ("gt_new_conf", pa.float32()),  # P(label | adversarial)      P1 "GT-new"
    ("snr_db", pa.float32()),  # inf: no perturbation
    ("l2", pa.float32()),
    ("linf", pa.float32()),
    ("success_loop", pa.bool_()),  # as the attack loop saw it
    ("success", pa.bool_()),  # judged again: float32, highest precision
    ("success_pcm16", pa.bool_()),  # and again after a 16-bit PCM round trip
    ("within_threat", pa.bool_()),  # ball, box and mask: the stored array, in float64
    ("silent_success", pa.bool_()),  # a step saw a success, the stored one is none
    ("clipped", pa.float32()),  # share of the writable samples at the box's edge
    ("first_success_step", pa.int32()),  # null: none
    ("nan_steps", pa.int32()),  # with a loss or a gradient that was not finite
    ("zero_gradients", pa.int32()),  # steps whose gradient was 0 everywhere
    # how far the loss fell in the last 10% of the steps, of its size; null: not reached
    ("late_drop", pa.float32()),
    ("found_by", pa.string()),  # the stage of an ensemble; null: no ensemble, or none
    ("steps", pa.int32()),
    ("forward_passes", pa.int32()),
    ("backward_passes", pa.int32()),
    ("seconds", pa.float32()),  # share of the device's time, compilation excluded
    ("seed", pa.int64()),
    ("config_hash", pa.string()),
    ("versions", pa.string()),  # "jax 0.10.2, jaxlib ..., jaxadv ..."
    ("device", pa.string()),
    ("wav", pa.string()),  # path of the float32 WAV inside the run's folder
    ("wav_pcm16", pa.string()),  # path of the 16-bit WAV
    ("wav_clean", pa.string()),  # path of the clean clip as the victim heard it
  ]
)
FIELDS: tuple[str, ...] = tuple(_SCHEMA.names)


def append(folder: Path, rows: Iterable[Mapping]) -> None:
  """Writes rows as one new part, atomically. OSError where the disk is full."""
  rows = list(rows)
  if not rows:
    return
  for row in rows:
    if set(row) != set(FIELDS):
      raise ValueError(f"row fields differ: {set(row) ^ set(FIELDS)}")
  directory = Path(folder) / "rows"
  number = 1 + max(
    (int(p.stem[5:]) for p in directory.glob("part-*.parquet")), default=0
  )
  buffer = io.BytesIO()
  pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), buffer)
  write_bytes(directory / f"part-{number:06d}.parquet", buffer.getvalue())


def read(folder: Path) -> list[dict]:
  """All rows of a run as dicts, sorted by (attack as first seen, id).

  Raises InputError for a part that is damaged.
  """
  rows = []
  for part in sorted((Path(folder) / "rows").glob("part-*.parquet")):
    try:
      rows += pq.read_table(part).to_pylist()
    except pa.ArrowInvalid as error:
      raise InputError(
        f"{part} is damaged ({error}): delete it, and the same command computes its "
        "rows again"
      ) from error
  order = {name: n for n, name in enumerate(dict.fromkeys(r["attack"] for r in rows))}
  return sorted(rows, key=lambda row: (order[row["attack"]], row["id"]))
