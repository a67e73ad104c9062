"""Tables, figures and the listening page of a run's folder. Needs no jax."""

from pathlib import Path

_PRINTED = ("table_2", "table_3", "judgements", "times")
_MOST_SKIPPED = 20  # file names that a terminal can stand


def write_report(workdir: str | Path) -> str:
  """Writes summary.md, tables/, figures/, page/ and index.html into a run's folder.

  Returns the text for the terminal: Tables 2 and 3, judgements, where the time went,
  guards, skipped files, where the page is. InputError where the folder holds no rows or
  a stored file is bad.
  """
  # imported here: matplotlib and soundfile are slow to load, and rarely wanted
  from jaxadv.report import guards
  from jaxadv.report.folder import read_run
  from jaxadv.report.page import make_tables, write_page
  from jaxadv.report.tables import escape_markdown, to_markdown, to_text

  run = read_run(workdir)
  made = make_tables(run)
  write_page(run.workdir)
  lines = [f"{entry['file']}: {entry['reason']}" for entry in run.skipped]
  skipped = f"## Skipped files: {len(lines)}"
  items = "\n".join(f"- {escape_markdown(line)}" for line in lines)
  written = [*(to_markdown(table) for table in made.values()), skipped, "", items, ""]
  (run.workdir / "summary.md").write_text("\n".join(written), encoding="utf-8")
  printed = [to_text(made[stem]) for stem in _PRINTED if stem in made]
  printed += [guards.to_text(guards.examine(run)), list_skipped(lines)]
  return "\n\n".join([*printed, f"Page: {_shown(run.workdir)}"])


def list_skipped(lines: list[str]) -> str:
  """For the terminal: how many files were skipped, and "file: reason" of some."""
  shown = [f"  {line}" for line in lines[:_MOST_SKIPPED]]
  more = len(lines) - len(shown)
  rest = [f"  and {more} more: see skipped.csv"] if more else []
  return "\n".join([f"Skipped files: {len(lines)}", *shown, *rest])


def _shown(workdir: Path) -> Path:
  """The page's path, relative to the current folder where it lies below it."""
  page, here = (workdir / "index.html").resolve(), Path.cwd()
  return page.relative_to(here) if page.is_relative_to(here) else page
