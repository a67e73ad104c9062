"""Benchmarks: `python experiments/bench.py --config=configs/bench_NAME.py`.

The config's `kind` says which: limit, layers, queue, scale, data, transforms; speed and
peers (against other libraries). Each runs in one process, interleaves what it compares,
prints machine and versions, and writes bench.md and a figure to the workdir.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from jaxadv import cli, keys, workdir
from jaxadv.errors import InputError
from jaxadv.report.figures import save
from jaxadv.report.p1_draw import STYLE
from jaxadv.report.tables import to_markdown, to_text


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  kind = settings.get("kind", "")
  if kind not in keys.BENCH_KEYS:
    known = ", ".join(keys.BENCH_KEYS)
    raise InputError(f"kind is {kind!r}: choose from {known}")
  keys.check(settings, keys.BENCH_KEYS[kind])
  if kind in ("peers", "speed") and not importlib.util.find_spec("torch"):
    raise InputError(
      "torch is missing, which the other libraries need: "
      "pip install -c constraints.txt -e '.[experiments,bench]'"
    )
  if kind == "peers":
    # torch and the peers are no dependency of the rest
    from benches.timing import machine
    from peers import compare

    return compare.run(settings, machine())
  module = importlib.import_module(f"benches.{kind}")
  folder = workdir.claim(settings["workdir"], settings)
  measured = module.run(settings)
  workdir.write_text(folder / "bench.md", to_markdown(measured.table))
  draw(folder / "bench.png", measured.draw)
  print(to_text(measured.table) + "\n" + measured.table.caption)


def draw(path: Path, on: Callable[[Figure], None]) -> None:
  with mpl.rc_context(STYLE):
    figure = Figure(layout="constrained")
    on(figure)
    save(figure, path)


if __name__ == "__main__":
  cli.run(main)
