"""Copies trained victims into the package: `python scripts/bundle_victims.py
runs/bundled jaxadv/models/trained`. Each becomes victim.json, variables.safetensors and
card.md; configs name them bundled/NAME.
"""

import shutil
import sys
from pathlib import Path

from jaxadv.victim import describe_victim, export_victim, load_victim


def main(source: Path, destination: Path) -> None:
  for found in sorted(source.glob("*/victim.json")):
    folder = destination / found.parent.name
    victim = load_victim(str(found.parent))
    export_victim(victim, describe_victim(str(found.parent))["model"], folder)
    shutil.copy(found.parent / "card.md", folder / "card.md")
    again = load_victim(str(folder))
    assert again.digest == victim.digest, folder
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB, weights {victim.digest}")


if __name__ == "__main__":
  main(Path(sys.argv[1]), Path(sys.argv[2]))
