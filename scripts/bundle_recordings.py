"""Build the small set of recordings that the package carries.

Fetches packages by name and version with apt-get and npm, takes out the recordings that
recordings.toml names, treats them all alike, and writes them in the layout of
FSDKaggle2018 with a table of where each one comes from.

  python scripts/bundle_recordings.py --out DIR [--cache DIR]
"""

import argparse
import csv
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from itertools import cycle
from pathlib import Path

import soundfile
from bundle_readme import counts_table, readme_text
from clip_audio import RATE, SHORTEST, condition, duplicates
from note_rendering import render
from package_audio import missing_tools, names, read, unpack

TABLE = Path(__file__).with_name("recordings.toml")
FOLDERS = {"train": "FSDKaggle2018.audio_train", "test": "FSDKaggle2018.audio_test"}
META = "FSDKaggle2018.meta"


def choose(row: dict, available: list[str]) -> list[str]:
  """Return the names of the recordings that a row of the table takes."""
  if "names" in row:
    return row["names"]
  fitting = [name for name in available if re.search(row["match"], name)]
  fitting = [name for name in fitting if name not in row.get("skip", [])]
  if len(fitting) < row["count"]:
    raise ValueError(f"{row['source']}: {len(fitting)} names fit {row['match']}")
  step = len(fitting) / row["count"]
  return [fitting[int((i + 0.5) * step)] for i in range(row["count"])]


def recordings(row: dict, path: Path, table: dict):
  """Yield (original name, float64 (n,) samples, rate in hertz) of one row."""
  if "program" not in row:
    for name in choose(row, names(path)):
      yield name, *read(path, name)
    return
  velocities, seconds = cycle(table["velocities"]), cycle(table["note_seconds"])
  # `keys` comes first, or zip would use up one value of the cycles at the end.
  notes = list(zip(row["keys"], velocities, seconds, strict=False))
  program = row["program"]
  for (key, velocity, held), audio in zip(
    notes, render(path, program, notes), strict=True
  ):
    yield f"program {program} key {key} velocity {velocity} {held} s", *audio


def long_ones(row: dict, found: list) -> set[str]:
  """Return the names of the row's longest recordings, as many as `long` says."""
  by_length = sorted(found, key=lambda item: len(item[1]) / item[2])
  return {name for name, _, _ in by_length[len(found) - row.get("long", 0) :]}


def clips_of(row: dict, path: Path, table: dict, lengths) -> list[dict]:
  """Return the finished clips of one row, with their lines of the table."""
  package = table["packages"][row["package"]]
  found = list(recordings(row, path, table))
  long, clips = long_ones(row, found), []
  for name, samples, rate in found:
    if len(samples) / rate < SHORTEST / RATE and "hits" not in row:
      raise ValueError(f"{name} of {row['source']} is a short loop, not a clip")
    longest = table["longest"] if name in long else next(lengths)
    clips.append(
      {
        "audio": condition(samples, rate, longest),
        "label": row["label"],
        "split": row["split"],
        "source": row["source"],
        "package": package["name"],
        "package_version": package["version"],
        "original_name": name,
        "licence": row.get("licence", package["licence"]),
        "author": row.get("author", package["author"]),
        "rendered": int("program" in row),
      }
    )
  return clips


def collect(table: dict, cache: Path) -> list[dict]:
  """Return all clips of the table, in its order."""
  lengths = {row["label"]: cycle(table["lengths"]) for row in table["take"]}
  clips = []
  for row in table["take"]:
    path = unpack(row["package"], table["packages"][row["package"]], cache)
    clips += clips_of(row, path, table, lengths[row["label"]])
  return clips


def check_apart(clips: list[dict]) -> None:
  """Stop when a class has a recording twice, or a source is on both sides."""
  sides = {}
  for clip in clips:
    if sides.setdefault(clip["source"], clip["split"]) != clip["split"]:
      raise ValueError(f"{clip['source']} is on both sides of the split")
  for label in sorted({clip["label"] for clip in clips}):
    same = [clip for clip in clips if clip["label"] == label]
    for i, j, value in duplicates([clip["audio"] for clip in same]):
      first, second = same[i]["original_name"], same[j]["original_name"]
      raise ValueError(f"{label}: {first} and {second} are alike ({value:.3f})")


def write_clips(clips: list[dict], out: Path) -> None:
  """Write the FLAC files; add each clip's file name, length in seconds and checksum."""
  for clip in clips:
    audio = clip.pop("audio")
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE, format="FLAC", subtype="PCM_16")
    data = buffer.getvalue()
    clip["fname"] = hashlib.sha256(audio.tobytes()).hexdigest()[:8] + ".flac"
    clip["duration_s"] = f"{len(audio) / RATE:.3f}"
    clip["sha256"] = hashlib.sha256(data).hexdigest()
    (out / FOLDERS[clip["split"]] / clip["fname"]).write_bytes(data)
  if len({clip["fname"] for clip in clips}) < len(clips):
    raise ValueError("two clips have the same file name")


def write_table(path: Path, columns: list[str], rows: list[dict]) -> None:
  """Write some columns of the clips as a CSV file."""
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(
      file, columns, restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)


def write_tables(clips: list[dict], out: Path) -> None:
  """Write the data set's two tables and the attributions."""
  for clip in clips:
    clip |= {"manually_verified": 1, "usage": "Public", "license": clip["licence"]}
  train, test = (
    [clip for clip in clips if clip["split"] == split] for split in ("train", "test")
  )
  columns = ["fname", "label", "manually_verified", "freesound_id", "license"]
  write_table(out / META / "train_post_competition.csv", columns, train)
  columns[2] = "usage"
  write_table(out / META / "test_post_competition_scoring_clips.csv", columns, test)
  columns = ["fname", "split", "label", "source", "package", "package_version"]
  columns += ["original_name", "licence", "author", "rendered", "duration_s", "sha256"]
  write_table(out / "attribution.csv", columns, clips)


def build(out: Path, cache: Path) -> str:
  """Write the whole bundle into a folder, and return the table of its classes."""
  table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
  clips = collect(table, cache)
  check_apart(clips)
  for folder in (*FOLDERS.values(), META):
    shutil.rmtree(out / folder, ignore_errors=True)
    (out / folder).mkdir(parents=True)
  write_clips(clips, out)
  clips.sort(key=lambda clip: clip["fname"])
  write_tables(clips, out)
  (out / "README.md").write_text(readme_text(clips, table), encoding="utf-8")
  return counts_table(clips)


def main() -> int:
  """Run the build from the command line."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--out", type=Path, required=True, help="folder to write")
  parser.add_argument("--cache", type=Path, help="folder that keeps the packages")
  options = parser.parse_args()
  if missing := missing_tools():
    print(f"Not found on this machine: {', '.join(missing)}.", file=sys.stderr)
    return 2
  with tempfile.TemporaryDirectory() as temporary:
    cache = options.cache or Path(temporary)
    cache.mkdir(parents=True, exist_ok=True)
    try:
      print(build(options.out, cache.resolve()))
    except subprocess.CalledProcessError as error:
      reason = (error.stderr or b"").decode(errors="replace").strip()
      print(f"{' '.join(error.cmd)} failed: {reason}", file=sys.stderr)
      return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
