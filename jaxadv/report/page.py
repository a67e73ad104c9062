"""The listening page: one static file that opens from disk, with nothing to load."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jaxadv.report import figures, guards, tables
from jaxadv.report.folder import Run, flatten, read_run, run_facts
from jaxadv.report.listening import choose, find_clips, make_card, panels
from jaxadv.report.summary import summarise


def make_tables(run: Run) -> dict[str, tables.Table]:
  """The tables of a run by the stem of their files."""
  summary, usage = summarise(run.rows), run.facts.get("usage")
  found = guards.examine(run)
  return {
    "table_2": tables.table_2(summary),
    "table_3": tables.table_3(summary),
    "judgements": tables.judgements(summary, len(run.skipped)),
    "guards": guards.table(found),
    "watch": guards.watch(run.rows),
    "costs": tables.costs(summary),
    "flagged": guards.flagged(found),
  } | ({"times": tables.times(usage)} if usage else {})


def draw_figures(run: Run) -> list[dict]:
  """Writes P1's figures to figures/ and describes each for the page.

  The spectrograms are of the clip that most attacks fooled; a run whose WAVs are gone
  has two figures.
  """
  folder = run.workdir / "figures"
  figures.success_against_snr(folder / "success_against_snr", run.rows)
  figures.new_labels(folder / "new_labels", run.rows, run.classes)
  drawn = [
    {
      "stem": "success_against_snr",
      "title": "Success against SNR",
      "caption": "Share of the attacked clips that are fooled by a perturbation of at "
      "least this SNR: the higher a curve is at the left, the quieter the attack.",
    },
    {
      "stem": "new_labels",
      "title": "New labels",
      "caption": "How often each class was the new label, over the successes of each "
      "attack (P1, Figure 1).",
    },
  ]
  clips = find_clips(run.rows, run.workdir)
  if not clips:
    return drawn
  clip = max(clips, key=lambda clip: len(clip.fooled))
  figures.spectrograms(folder / "spectrograms", panels(clip, run.workdir))
  caption = (
    f"A clip of {clip.label} and its adversarials, with the model's label and the SNR; "
    "below each, its perturbation on a scale of its own (P1, Figure 3)."
  )
  shown = {"stem": "spectrograms", "title": "Spectrograms", "caption": caption}
  return [*drawn, shown]


def make_cards(run: Run, examples: int) -> list:
  """Listening cards of up to `examples` clips; those of an earlier report go."""
  for pattern in ("*.png", "*.wav"):
    for old in (run.workdir / "page").glob(f"[0-9][0-9]-{pattern}"):
      old.unlink()
  chosen = choose(find_clips(run.rows, run.workdir), examples)
  return [make_card(clip, n, run.workdir) for n, clip in enumerate(chosen, 1)]


def write_page(workdir: str | Path, *, examples: int = 12) -> None:
  """Writes workdir/index.html and what it shows: tables/, figures/, page/ (sounds).

  examples: how many clips to listen to. InputError as read_run, or where a WAV is bad.
  """
  run = read_run(workdir)
  made = make_tables(run)
  tables.write_tables(run.workdir / "tables", made)
  environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  text = environment.get_template("page.html").render(
    title=f"Adversarial robustness: {run.facts.get('model') or run.rows[0]['model']}",
    tables=made,
    guards=guards.examine(run),
    is_text=tables.is_text,
    figures=draw_figures(run),
    cards=make_cards(run, examples),
    skipped=run.skipped,
    facts=run_facts(run),
    config=flatten(run.config),
  )
  (run.workdir / "index.html").write_text(text, encoding="utf-8")
