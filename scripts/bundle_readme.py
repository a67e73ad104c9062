"""Write the bundle's README: rules, counts per class, licences and attributions."""

from collections import Counter
from pathlib import Path

TEXT = Path(__file__).with_name("bundle_readme.md")


def counts_table(clips: list[dict]) -> str:
  """Return a Markdown table of the clips of each class."""
  lines = ["| class | train | test | real | rendered | sources | seconds |"]
  lines.append("|---|---|---|---|---|---|---|")
  for label in [*sorted({clip["label"] for clip in clips}), "all"]:
    same = [clip for clip in clips if label in (clip["label"], "all")]
    split = Counter(clip["split"] for clip in same)
    rendered = sum(clip["rendered"] for clip in same)
    sources = len({clip["source"] for clip in same})
    seconds = sum(float(clip["duration_s"]) for clip in same)
    lines.append(
      f"| {label} | {split['train']} | {split['test']} | {len(same) - rendered}"
      f" | {rendered} | {sources} | {seconds:.1f} |"
    )
  return "\n".join(lines)


def credits_table(clips: list[dict]) -> str:
  """Return a Markdown table of packages, licences, authors and their clips."""
  keys = ("package", "package_version", "licence", "author")
  counts = Counter(tuple(clip[key] for key in keys) for clip in clips)
  lines = ["| package | version | licence | author | clips |", "|---|---|---|---|---|"]
  lines += [f"| {' | '.join(k)} | {n} |" for k, n in sorted(counts.items())]
  return "\n".join(lines)


def readme_text(clips: list[dict], table: dict) -> str:
  """Return the whole README.

  Args:
    clips: the lines of the attribution table.
    table: the contents of recordings.toml.
  """
  lengths = ", ".join(str(length) for length in table["lengths"])
  return TEXT.read_text(encoding="utf-8").format(
    counts=counts_table(clips),
    credits=credits_table(clips),
    lengths=lengths,
    longest=table["longest"],
  )
