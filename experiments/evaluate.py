"""Accuracy and confusion matrix of a victim: `python experiments/evaluate.py
--config=configs/NAME.py --config.victim=DIR --config.data.split=test`.

Clips go in as they are attacked: whole, padded, through the victim's own frontend.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from jaxadv import build, cli, data, keys, workdir
from jaxadv.errors import InputError
from jaxadv.judge import judge
from jaxadv.report import list_skipped
from jaxadv.report.tables import Table, to_markdown, to_text
from jaxadv.victim import Victim, load_victim


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.EVALUATE_KEYS)
  victim = load_victim(settings["victim"])
  dataset = build.dataset(settings["data"], settings["data"]["split"], victim.classes)
  folder = workdir.claim(settings["workdir"], settings)
  skipped: dict[str, str] = {}
  pairs = list(predictions(victim, dataset, settings, skipped))
  workdir.write_skipped(folder, skipped)
  if not pairs:
    raise InputError(
      f"none of {len(dataset.clips)} clips can be used: see {folder}/skipped.csv"
    )
  tables = [accuracy(pairs, victim, len(skipped)), confusion(pairs, victim)]
  workdir.write_text(folder / "evaluation.md", "\n".join(map(to_markdown, tables)))
  said = list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())])
  print("\n\n".join([*map(to_text, tables), said]))


def predictions(
  victim: Victim,
  dataset: data.Dataset,
  settings: Mapping[str, Any],
  skipped: dict[str, str],
) -> Iterator[tuple[int, int]]:
  """Yields (label, predicted label) of every clip that can be read."""
  runtime, limit = settings["runtime"], settings["data"]["band_limit_hz"]
  logits = judge(victim.logits)
  with tqdm(total=len(dataset.clips), desc="clips") as progress:
    for chunks, clips in data.by_bucket(dataset.clips):
      loaded = data.load(
        clips,
        band_limit_hz=limit,
        threads=runtime["threads"],
        processes=runtime["processes"],
      )
      some = data.usable(loaded, skipped, tqdm.write)
      size = max(1, runtime["batch_chunks"] // chunks)
      while batch := list(itertools.islice(some, size)):
        xs = [x for _, x, _ in batch]
        padded = np.stack(xs + [np.zeros_like(xs[0])] * (size - len(xs)))
        predicted = logits(victim.variables, padded)[: len(xs)].argmax(1)
        progress.update(len(batch))
        labels = [clip.label for clip, *_ in batch]
        yield from zip(labels, predicted.tolist(), strict=True)


def accuracy(pairs: list[tuple[int, int]], victim: Victim, skipped: int) -> Table:
  """One row: how many of the (label, predicted label) pairs agree."""
  right = sum(label == predicted for label, predicted in pairs)
  return Table(
    "Accuracy",
    ("victim", "clips", "right", "accuracy", "chance", "skipped"),
    [
      (
        victim.name,
        str(len(pairs)),
        str(right),
        f"{right / len(pairs):.3f}",
        f"{1 / len(victim.classes):.3f}",
        str(skipped),
      )
    ],
    "",
  )


def confusion(pairs: list[tuple[int, int]], victim: Victim) -> Table:
  """True classes as rows, predicted ones as columns, recall at the end."""
  names = victim.classes
  counts = confusion_matrix(*zip(*pairs, strict=True), labels=range(len(names)))
  rows = [
    (name, *(str(n) if n else "." for n in row), f"{row[at] / max(1, row.sum()):.2f}")
    for at, (name, row) in enumerate(zip(names, counts, strict=True))
  ]
  heads = tuple(name[:9] for name in names)
  return Table("Confusion", ("true \\ said", *heads, "recall"), rows, "")


if __name__ == "__main__":
  cli.run(main)
