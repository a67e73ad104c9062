"""Fetch the packages that hold the recordings, and read recordings out of them."""

import re
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from soundfont import SoundFont

TOOLS = ("apt-get", "dpkg-deb", "npm", "fluidsynth")


def missing_tools() -> list[str]:
  """Return the commands that the build needs and this machine does not have."""
  return [tool for tool in TOOLS if shutil.which(tool) is None]


def _download(package: dict, folder: Path) -> Path:
  """Return the package's archive, downloaded unless the folder already has it."""
  name, version = package["name"], package["version"]
  deb = package["registry"] == "apt"
  pattern = f"{name}_{version}_*.deb" if deb else f"{name}-{version}.tgz"
  if not list(folder.glob(pattern)):
    command = ["apt-get", "download"] if deb else ["npm", "pack", "--silent"]
    command.append(f"{name}={version}" if deb else f"{name}@{version}")
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
  return next(folder.glob(pattern))


def unpack(key: str, package: dict, cache_folder: Path) -> Path:
  """Return the folder (or the soundfont) in which a package's recordings lie."""
  folder = cache_folder / f"{key}-{package['version']}"
  if not folder.exists():
    archive = _download(package, cache_folder)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if archive.suffix == ".deb":
      subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    else:
      with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    partial.rename(folder)
  return folder / package["path"]


def _natural(name: str) -> list:
  """Return a sorting key that puts v2 before v10."""
  return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]


@cache
def _soundfont(path: Path) -> SoundFont:
  return SoundFont(path)


def names(path: Path) -> list[str]:
  """Return the names of all recordings of a package, sorted."""
  if path.suffix == ".sf2":
    return sorted(_soundfont(path).names(), key=_natural)
  kinds = {".wav", ".flac", ".mp3"}
  return sorted((f.name for f in path.iterdir() if f.suffix in kinds), key=_natural)


def read(path: Path, name: str) -> tuple[np.ndarray, int]:
  """Return a recording's first channel, float64 (n,), and its rate in hertz."""
  if path.suffix == ".sf2":
    return _soundfont(path).read(name)
  samples, rate = soundfile.read(path / name, dtype="float64", always_2d=True)
  return samples[:, 0], rate
