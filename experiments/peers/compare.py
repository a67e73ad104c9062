"""The table of experiments/bench.py --config=configs/bench_peers.py, row by row."""
# pyright: reportMissingImports=false

import functools
import importlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from jaxadv import build, data, entries, workdir
from jaxadv.attacks import ATTACKS
from jaxadv.ensemble import ENSEMBLES
from jaxadv.errors import InputError
from jaxadv.judge import judge
from jaxadv.models.frontends import CHUNK_SAMPLES
from jaxadv.report.tables import to_csv, to_markdown, to_text
from jaxadv.victim import Victim, load_victim
from peers import measure, tables
from peers.torch_victims import Images, export

OURS = "jaxadv"
OUR_ATTACKS = ATTACKS | ENSEMBLES
LIBRARIES = ("foolbox", "art", "torchattacks", "adv_lib", "cleverhans")
_ROWS = "rows.json"


def run(settings: dict[str, Any], machine: str) -> None:
  """Fills the workdir with rows.json, peers.md and peers.csv; goes on where it was."""
  runtime = settings["runtime"]
  torch.set_num_threads(runtime["threads"])
  chosen, found = _chosen(settings), libraries(runtime["libraries"])
  victims = [load_victim(path) for path in settings["victims"].split(",")]
  settings["found"] = {"victims": [victim.digest for victim in victims]}
  # which rows, not what is in them
  claimed = {key: value for key, value in settings.items() if key != "only"}
  folder = workdir.claim(settings["workdir"], claimed)
  running = {victim.name for victim in victims}, chosen, found
  rows = [row for row in _read(folder) if not _again(row, runtime["redo"], running)]
  notes = [machine]
  for victim in victims:
    subject, said = prepare(victim, settings)
    notes.append(said)
    print(said)
    for name, entry in chosen.items():
      for row in _compare(name, entry, subject, found, settings, rows):
        rows.append(row)
        workdir.write_text(folder / _ROWS, json.dumps(rows))
        _write_tables(folder, rows, notes)
        print(tables.line(row), flush=True)
      jax.clear_caches()  # or a hundred attacks' programs run out of memory maps
  _write_tables(folder, rows, notes)
  for table in tables.make(rows, notes):
    print(to_text(table))


def _chosen(settings):
  """The entries that `only` names, by their own name or by their method, in the order
  of our table; InputError for a name that is neither."""
  listed, only = settings["compared"], settings["only"]
  wanted = only.split(",") if only else []
  known = {*listed, *(entry["method"] for entry in listed.values())}
  for name in wanted:
    if name not in known:
      raise InputError(f"only has {name!r}: choose from {', '.join(sorted(known))}")
  chosen = {
    name: entry
    for name, entry in listed.items()
    if not only or name in wanted or entry["method"] in wanted
  }
  order = list(OUR_ATTACKS)
  for name, entry in chosen.items():
    if entry["method"] not in order:
      raise InputError(f"compared.{name}.method is {entry['method']!r}: no attack")
  return dict(sorted(chosen.items(), key=lambda one: order.index(one[1]["method"])))


def libraries(only: str) -> dict[str, Any]:
  """name -> module, whose RUNS are wanted."""
  wanted = only.split(",") if only else [OURS, *LIBRARIES]
  modules = {}
  for name in wanted:
    if name not in (OURS, *LIBRARIES):
      raise InputError(f"runtime.libraries has {name!r}: choose from {LIBRARIES}")
    if name == OURS:
      modules[name] = None
      continue
    try:
      modules[name] = importlib.import_module(f"peers.from_{name}")
    except ImportError as error:
      raise InputError(
        f"{name} can't be imported ({error}): configs/bench_peers.py says how to "
        "install it, or leave it out with --config.runtime.libraries"
      ) from error
  return modules


def _read(folder: Path) -> list[dict[str, Any]]:
  path = folder / _ROWS
  return json.loads(path.read_text()) if path.exists() else []


def _again(row, redo, running):
  """Whether a row is named in `redo`, and this run will make it again."""
  named = {row["library"], row["attack"]} & set(redo.split(","))
  keys = row["victim"], row["attack"], row["library"]
  return bool(named) and all(key in run for key, run in zip(keys, running, strict=True))


def choose_clips(victim: Victim, settings: Mapping[str, Any]) -> measure.Clips:
  """Clips of one chunk that the victim gets right, at one loudness, in random order.

  One l2 norm for all, so that one radius serves; on a grid that images in [0, 1] hold
  exactly. A clip that would leave the box is left out.
  """
  dataset = build.dataset(settings["data"], settings["data"]["split"], victim.classes)
  order = np.random.default_rng(settings["seed"]).permutation(len(dataset.clips))
  loaded = data.load(
    [dataset.clips[n] for n in order], band_limit_hz=settings["data"]["band_limit_hz"]
  )
  norm = settings["rms"] * np.sqrt(CHUNK_SAMPLES)
  logits, grid = judge(victim.logits), 2.0**22
  kept = []
  for clip, x, _ in data.usable(loaded, {}, print):
    size = np.linalg.norm(x.astype(np.float64))
    if len(x) != CHUNK_SAMPLES or not size:
      continue
    x = (np.rint(x * (norm / size) * grid) / grid).astype(np.float32)
    right = logits(victim.variables, x[None]).argmax() == clip.label
    if np.abs(x).max() <= 1 and right:
      kept.append((clip.file, x, clip.label))
    if len(kept) == settings["clips"]:
      break
  if not kept:
    raise InputError("no clip can be used: give another rms or other data")
  files, xs, labels = zip(*kept, strict=True)
  return measure.Clips(list(files), np.stack(xs), np.array(labels))


class Subject(NamedTuple):
  """A victim, the clips, and the victim for the others."""

  victim: Victim
  clips: measure.Clips
  model: Images
  logits: Callable[[np.ndarray], np.ndarray]  # what judges


def prepare(victim: Victim, settings: Mapping[str, Any]) -> tuple[Subject, str]:
  """The subject, and how well its victims agree; InputError where they don't."""
  if victim.model is None:
    raise InputError(f"victim {victim.name} is imported: give one of our networks")
  clips = choose_clips(victim, settings)
  model, said = export(victim.model, victim.variables, clips.x)
  judged = functools.partial(judge(victim.logits), victim.variables)
  return Subject(victim, clips, model, judged), f"{victim.name}: {said}"


def _compare(name, entry, subject, modules, settings, rows):
  """Yields the rows of one attack that are not there yet, ours first."""
  asked = ask(name, entry, subject)
  clips, ours, radius = asked.subject.clips, asked.ours, asked.radius
  budget = {key: ours[key] for key in ("radius", "budget") if key in ours}
  shared = {"method": ours["method"], "norm": ours["norm"], "limit": radius, **budget}
  done = {tuple(row[key] for key in tables.KEYS) for row in rows}
  for library, variant, package, attack in sides(asked, modules):
    key = (subject.victim.name, name, library, variant)
    row = dict(zip(tables.KEYS, key, strict=True))
    if tuple(row.values()) in done:
      continue
    row |= shared | {"files": clips.files}
    row |= {"version": importlib.metadata.version(package)}
    try:
      with measure.limited(settings["runtime"]["limit_s"]):
        found = attack(settings["seed"], 0)
      said = measure.judged(found, clips, ours["norm"], radius, subject.logits)
    except Exception as error:  # whatever a library raises is its result
      reason = " ".join(str(error).split())[:160]
      said = {"error": f"{type(error).__name__}: {reason}"}
    yield row | said


class Asked(NamedTuple):
  """One entry of `compared`, as everyone is asked for it.

  ours: the entry as an attack's config has it. more: what the peers are told besides.
  radius: of waveforms, the same for all clips; inf: no budget. subject: with targets
    in its clips, where the entry is `targeted`.
  """

  plan: entries.AttackPlan
  ours: dict[str, Any]
  more: Mapping[str, Any]
  radius: float
  subject: Subject


def ask(name: str, entry: Mapping[str, Any], subject: Subject) -> Asked:
  """`targeted`: each clip is to become the class after its own."""
  ours = {k: v for k, v in entry.items() if k not in ("peers", "targeted")}
  clips, targeted = subject.clips, entry.get("targeted", False)
  if targeted:
    classes = len(subject.victim.classes)
    clips = clips._replace(targets=(clips.labels + 1) % classes)
  plan = entries.attack_plan(name, ours, target=targeted)
  plan = plan.against(len(subject.victim.classes))
  radius = measure.smallest_radius(plan, clips)
  more = entry.get("peers", {})
  return Asked(plan, ours, more, radius, subject._replace(clips=clips))


def sides(asked: Asked, modules: Mapping[str, Any]) -> Iterator[tuple]:
  """(library, variant, package, (seed, at once) -> Found) of all that have it."""
  plan, ours, more, radius, subject = asked
  method, norm = ours["method"], ours["norm"]
  known = inspect.signature(OUR_ATTACKS[method]).parameters
  defaults = {key: parameter.default for key, parameter in known.items()}
  told = {**defaults, **ours, **more}
  job = {
    "classes": len(subject.victim.classes),
    "norm": norm,
    "radius": radius / 2,
    "settings": told,
  }
  targeted = subject.clips.targets is not None
  for library, module in modules.items():
    if library == OURS:
      yield OURS, method, OURS, measure.by_ours(subject.victim, plan, subject.clips)
      continue
    for run in module.RUNS:
      same = (run.method, run.norm) == (told.get("counterpart", method), norm)
      if same and (run.targeted or not targeted):
        by_peer = measure.by_peer(run, subject.model, subject.clips, job)
        yield library, run.variant, module.PACKAGE, by_peer


def _write_tables(folder, rows, notes):
  made = tables.make(rows, notes)
  workdir.write_text(folder / "peers.md", "\n".join(map(to_markdown, made)))
  workdir.write_text(folder / "peers.csv", to_csv(tables.in_full(rows)))
