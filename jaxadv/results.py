"""Rows: one per example and attack. The only module that knows the file format.

A run's folder holds `rows/part-NNNNNN.parquet`; a transfer's folder `transfer/...`, one
of transforms `transformed/...`.
Each `append` writes one new part under a temporary name and renames it, so a reader
sees a part whole or not at all, and a run killed at any moment loses nothing that was
appended. Rows of a finished example are never rewritten: a resumed run skips every
(attack, id) that has a row. A column that parts of an older version lack reads as null.
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
    ("clip_sha256", pa.string()),  # of the clean samples: float32, little-endian
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
    # with the square of the noise's mean as its power: for P1's Table 4 (record.py)
    ("snr_of_mean_db", pa.float32()),
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
    ("precision", pa.string()),  # of the attack: highest, default or bfloat16
    ("config_hash", pa.string()),
    ("versions", pa.string()),  # "jax 0.10.2, jaxlib ..., jaxadv ..."
    ("device", pa.string()),
    ("wav", pa.string()),  # path of the float32 WAV inside the run's folder
    ("wav_pcm16", pa.string()),  # path of the 16-bit WAV
    ("wav_clean", pa.string()),  # path of the clean clip as the victim heard it
  ]
)
FIELDS: tuple[str, ...] = tuple(_SCHEMA.names)
# one stored example of one model (the source), heard by another (model)
_TRANSFER = pa.schema(
  [
    ("id", pa.int64()),  # of the example at its source
    ("attack", pa.string()),
    ("method", pa.string()),  # the attack's, as the source's config names it
    ("source", pa.string()),  # the model that was attacked
    ("source_config_hash", pa.string()),
    ("model", pa.string()),  # the model that listens
    ("file", pa.string()),
    ("label", pa.string()),  # ground truth
    ("target", pa.string()),  # null: untargeted
    ("snr_db", pa.float32()),
    ("source_clean_correct", pa.bool_()),
    ("source_success", pa.bool_()),
    ("source_new_label", pa.string()),
    ("clean_label", pa.string()),  # what `model` says of the clean clip
    ("new_label", pa.string()),  # what `model` says of the stored adversarial
    ("gt_conf", pa.float32()),  # P(label | clean)
    ("new_conf", pa.float32()),  # P(new_label | adversarial)
    ("gt_new_conf", pa.float32()),  # P(label | adversarial)
    ("config_hash", pa.string()),
    ("versions", pa.string()),
    ("device", pa.string()),
  ]
)
# one stored example, or clean clip, of one model after one transform
_TRANSFORMED = pa.schema(
  [
    ("id", pa.int64()),  # of the example at its source; of a clean clip: its first
    ("attack", pa.string()),  # "clean": the clip itself
    ("method", pa.string()),
    ("model", pa.string()),
    ("source_config_hash", pa.string()),
    ("file", pa.string()),
    ("label", pa.string()),  # ground truth
    ("target", pa.string()),  # null: untargeted
    ("snr_db", pa.float32()),  # of the adversarial, before the transform
    ("new_label", pa.string()),  # what the model said before the transform
    ("new_conf", pa.float32()),  # P(new_label | before)
    ("through", pa.string()),  # what the attack knew of: a transform, a set "a + b"
    ("transform", pa.string()),  # its name in the config
    ("transformed_label", pa.string()),
    ("transformed_conf", pa.float32()),  # P(transformed_label | after)
    ("gt_conf", pa.float32()),  # P(label | after)
    ("config_hash", pa.string()),
    ("versions", pa.string()),
    ("device", pa.string()),
  ]
)
_SCHEMAS = {"rows": _SCHEMA, "transfer": _TRANSFER, "transformed": _TRANSFORMED}
TABLES: tuple[str, ...] = tuple(_SCHEMAS)


def append(
  folder: Path, rows: Iterable[Mapping], table: str = "rows", process: int = 0
) -> None:
  """Writes rows as one new part, atomically. OSError where the disk is full.

  process: of several that write to one folder; each numbers its own parts.
  """
  rows, schema = list(rows), _SCHEMAS[table]
  if not rows:
    return
  for row in rows:
    if set(row) != set(schema.names):
      raise ValueError(f"row fields differ: {set(row) ^ set(schema.names)}")
  directory, suffix = Path(folder) / table, f"-{process}" if process else ""
  own = directory.glob(f"part-[0-9][0-9][0-9][0-9][0-9][0-9]{suffix}.parquet")
  number = 1 + max((int(p.stem[5:11]) for p in own), default=0)
  buffer = io.BytesIO()
  pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
  write_bytes(directory / f"part-{number:06d}{suffix}.parquet", buffer.getvalue())


def parts(folder: Path, table: str = "rows") -> list[Path]:
  """The files that a folder's rows are in, in the order they were written."""
  return sorted((Path(folder) / table).glob("part-*.parquet"))


def read(folder: Path, table: str = "rows") -> list[dict]:
  """All rows of a folder as dicts, sorted by (attack as first seen, id).

  A row of "rows" that is there twice, as two processes may write it where a run goes on
  with fewer, is read once, as in the last part by name.
  Raises InputError for a part that is damaged.
  """
  rows = []
  for part in parts(folder, table):
    try:
      rows += pq.read_table(part, schema=_SCHEMAS[table]).to_pylist()
    except (pa.ArrowException, OSError) as error:
      raise InputError(
        f"{part} is damaged ({error}): delete it, and the same command computes its "
        "rows again"
      ) from error
  if table == "rows":
    same = ("model", "attack", "id", "config_hash")
    rows = list({tuple(row[name] for name in same): row for row in rows}.values())
  order = {name: n for n, name in enumerate(dict.fromkeys(r["attack"] for r in rows))}
  return sorted(rows, key=lambda row: (order[row["attack"]], row["id"]))
