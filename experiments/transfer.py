"""What victims say of examples that were made for others: `python
experiments/transfer.py --config=configs/transfer.py --config.sources=DIR,DIR
--config.victims=DIR,DIR`.

Judges the stored float32 WAVs of attacks, and their clean clips, with every victim.
Killed and started again, it goes on where it was.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxadv import cli, data, judge, keys, record, results, workdir
from jaxadv.errors import InputError
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report import list_skipped
from jaxadv.report.folder import Run
from jaxadv.report.gather import gather_runs
from jaxadv.report.grid import to_table, write_grids
from jaxadv.report.p1_rows import method_of
from jaxadv.report.p1_transfer import transfer_tables
from jaxadv.report.tables import to_text
from jaxadv.victim import Victim, load_victim

_FLUSH_S = 10.0  # a judged example waits at most about so long for its row
_COPIED = ("id", "attack", "file", "label", "target", "snr_db")


class Example(NamedTuple):
  """A stored example, and what its row at the source says that its new one will."""

  wav: Path
  clean: Path
  fields: dict[str, Any]

  def key(self, model: str) -> tuple:
    """What tells rows apart."""
    names = ("source", "attack", "id")
    return (*(self.fields[name] for name in names), model)


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.TRANSFER_KEYS)
  runs = gather_runs(keys.folders(settings, "sources"))
  examples = choose_examples(runs, settings["runtime"]["only"])
  victims = load_victims(keys.folders(settings, "victims"), runs)
  # a path may come to hold other weights or rows: they must not be mixed
  settings["found"] = {
    "sources": sorted({one.fields["source_config_hash"] for one in examples}),
    "victims": {victim.name: victim.digest for victim in victims},
  }
  folder = workdir.claim(settings["workdir"], settings)
  shared = {
    "config_hash": workdir.config_hash(settings),
    "versions": record.versions(),
    "device": f"1 x {jax.devices()[0].device_kind}",
  }
  skipped: dict[str, str] = {}
  for victim in victims:
    listen(victim, examples, settings, folder, shared, skipped)
  workdir.write_skipped(folder, skipped)
  rows = results.read(folder, "transfer")
  if not rows:
    raise InputError(
      f"none of {len(examples)} examples can be read: see {folder}/skipped.csv"
    )
  grids = transfer_tables(rows)
  write_grids(folder / "tables", grids)
  said = list_skipped([f"{file}: {why}" for file, why in sorted(skipped.items())])
  print("\n\n".join([*(to_text(to_table(grid)) for grid in grids.values()), said]))


def choose_examples(runs: Sequence[Run], only: str) -> list[Example]:
  """The stored examples of all attacks, or of those that `only` names."""
  known = dict.fromkeys(row["attack"] for run in runs for row in run.rows)
  wanted = only.split(",") if only else known
  for attack in wanted:
    if attack not in known:
      raise InputError(
        f"runtime.only has {attack!r}: the sources' attacks are {', '.join(known)}"
      )
  return [
    Example(
      run.workdir / row["wav"],
      run.workdir / row["wav_clean"],
      {field: row[field] for field in _COPIED}
      | {
        "method": method_of(run, row["attack"]),
        "source": row["model"],
        "source_config_hash": row["config_hash"],
        "source_clean_correct": row["clean_correct"],
        "source_success": row["success"],
        "source_new_label": row["new_label"],
      },
    )
    for run in runs
    for row in run.rows
    if row["attack"] in wanted
  ]


def load_victims(folders: Sequence[str], runs: Sequence[Run]) -> list[Victim]:
  """The victims in the folders, or one or two levels below.

  InputError where two share a name, or where one's classes are not those of a run.
  """
  paths: dict[Path, str] = {}
  for folder in folders:
    inside = [
      path.parent
      for pattern in ("victim.json", "*/victim.json", "*/*/victim.json")
      for path in sorted(Path(folder).glob(pattern))
    ]
    paths |= {path.resolve(): str(path) for path in inside or [Path(folder)]}
  victims: dict[str, tuple[Victim, str]] = {}
  for path in paths.values():
    victim = load_victim(path)
    if victim.name in victims:
      raise InputError(
        f"{victims[victim.name][1]} and {path} are both named {victim.name}: rename "
        "one of the folders"
      )
    for run in runs:
      check_classes(path, victim, run)
    victims[victim.name] = victim, path
  return [victim for victim, _ in victims.values()]


def check_classes(path: str, victim: Victim, run: Run) -> None:
  """InputError where victim and run know different classes."""
  differing = set(run.classes) ^ set(victim.classes)
  if not run.facts.get("classes"):  # stopped early: its rows need not name them all
    differing = set(run.classes) - set(victim.classes)
  if differing:
    raise InputError(
      f"the victim {path} and the run {run.workdir} have different classes "
      f"({min(differing)!r} is in one of them only): give models of one data set"
    )


def listen(
  victim: Victim,
  examples: Sequence[Example],
  settings: Mapping[str, Any],
  folder: Path,
  shared: Mapping[str, Any],
  skipped: dict[str, str],
) -> None:
  """Appends a row for every example that has none of this victim yet."""
  names = ("source", "attack", "id", "model")
  done = {tuple(r[n] for n in names) for r in results.read(folder, "transfer")}
  left = [one for one in examples if one.key(victim.name) not in done]
  by_wav = {one.wav: one for one in left}
  # a clean clip goes before its first adversarial
  paths = list(dict.fromkeys(path for one in left for path in (one.clean, one.wav)))
  clean: dict[Path, np.ndarray] = {}
  rows: list[dict[str, Any]] = []
  since, total = time.monotonic(), len(examples)
  with tqdm(total=total, initial=total - len(left), desc=victim.name) as progress:
    for path, probs in probabilities(victim, paths, settings["runtime"], skipped):
      if path not in by_wav:
        clean[path] = probs
      elif by_wav[path].clean in clean:
        one = by_wav[path]
        judged = row(one.fields, victim, clean[one.clean], probs)
        rows.append(judged | dict(shared))
        progress.update()
      if time.monotonic() - since > _FLUSH_S:
        results.append(folder, rows, "transfer")
        since, rows = time.monotonic(), []
  results.append(folder, rows, "transfer")


def row(
  fields: Mapping[str, Any], victim: Victim, clean: np.ndarray, adversarial: np.ndarray
) -> dict[str, Any]:
  """What the victim says of a clip and its adversarial, [classes] each."""
  label = victim.classes.index(fields["label"])
  return dict(fields) | {
    "model": victim.name,
    "clean_label": victim.classes[clean.argmax()],
    "new_label": victim.classes[adversarial.argmax()],
    "gt_conf": clean[label],
    "new_conf": adversarial.max(),
    "gt_new_conf": adversarial[label],
  }


def probabilities(
  victim: Victim,
  paths: Sequence[Path],
  runtime: Mapping[str, Any],
  skipped: dict[str, str],
) -> Iterator[tuple[Path, np.ndarray]]:
  """Yields (path, probabilities [classes]) of every WAV that can be read and judged."""
  clips = [data.Clip(n, str(path), path, -1, False) for n, path in enumerate(paths)]
  ordered = [clip for _, some in data.by_bucket(clips) for clip in some]
  loaded = data.load(
    ordered, threads=runtime["threads"], processes=runtime["processes"]
  )
  usable = data.usable(loaded, skipped, tqdm.write)
  judged = judge.probabilities(
    victim.logits,
    victim.variables,
    ((clip.path, x) for clip, x, _ in usable),
    runtime["batch_chunks"] * CHUNK_SAMPLES,
  )
  for path, probs in judged:
    if np.isnan(probs).any():
      skipped[str(path)] = judge.NO_ANSWER
    else:
      yield path, probs


if __name__ == "__main__":
  cli.run(main)
