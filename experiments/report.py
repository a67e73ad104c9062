"""P0's and P1's tables and figures of runs: `python experiments/report.py
--config=configs/report.py --config.runs=DIR,DIR --config.out=DIR`.

A DIR is the workdir of an attack, an evaluation, a transfer or transforms, or a folder
of such folders. Needs no device: everything comes from rows.
"""

from pathlib import Path

from ml_collections import ConfigDict

from jaxadv import cli, keys
from jaxadv.errors import InputError
from jaxadv.report import p0
from jaxadv.report.gather import gather
from jaxadv.report.grid import Grid, to_table, write_grids
from jaxadv.report.p1 import tables
from jaxadv.report.p1_transfer import transfer_tables
from jaxadv.report.tables import to_text

_MOST_LINES, _MOST_COLUMNS = 60, 12  # that a terminal can stand


def main(config: ConfigDict) -> None:
  settings = config.to_dict()
  keys.check(settings, keys.REPORT_KEYS)
  found = gather(keys.folders(settings, "runs"))
  grids = tables(found.runs, found.predictions) | transfer_tables(found.transfers)
  if found.transformed:
    grids |= p0.tables(found.transformed)
  if found.runs:
    from jaxadv.report.p1_spectrum import spectrum_table  # librosa is slow to load

    grids["p1_spectrum"] = spectrum_table(found.runs)
  out = Path(settings["out"])
  write(out, grids)
  for stem, grid in grids.items():
    print(in_short(stem, grid, out), end="\n\n")
  if found.runs:
    from jaxadv.report.p1_figures import write_figures  # matplotlib is slow to load

    drawn = [path for path in write_figures(found.runs, out) if path.suffix == ".png"]
    print(f"{len(drawn)} figures, shown in {out / 'p1_figures.md'}")
  if found.transformed:
    from jaxadv.report import p0_figures

    p0_figures.write_figures(found.transformed, out)
  print(f"Written to {out}")


def write(out: Path, grids: dict[str, Grid]) -> None:
  """STEM.md, STEM.csv and STEM.tex of each. InputError where it can't be."""
  try:
    write_grids(out, grids)
  except (FileExistsError, NotADirectoryError, PermissionError) as error:
    raise InputError(
      f"{str(out)!r} can't be written ({error.strerror}): give another folder with "
      "--config.out=DIR"
    ) from error


def in_short(stem: str, grid: Grid, out: Path) -> str:
  """The table as text, or where it is if it is too large for a terminal."""
  if len(grid.rows) > _MOST_LINES or len(grid.columns) > _MOST_COLUMNS:
    return f"{grid.title}: {len(grid.rows)} lines, see {out / stem}.md"
  return to_text(to_table(grid))


if __name__ == "__main__":
  cli.run(main)
