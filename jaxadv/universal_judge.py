"""What victims say of whole clips that hear a universal perturbation, and noise."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv import data, workdir
from jaxadv.core import Example
from jaxadv.data.audio import CHUNK_SAMPLES
from jaxadv.judge import NO_ANSWER, answers
from jaxadv.problem import Threat
from jaxadv.universal import heard
from jaxadv.victim import Victim


class Heard(NamedTuple):
  """A row of test.csv: a clip and what a victim says of it, clean, with the universal
  perturbation, and with white noise at the SNR that the perturbation has."""

  model: str
  id: int  # Clip.index
  file: str
  label: str
  clean: str
  universal: str
  noise: str
  snr_db: float  # inf where nothing was added
  noise_snr_db: float  # the box may cut a loud peak off


def perturb(threat: Threat) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
  """x [chunks * CHUNK_SAMPLES], u [CHUNK_SAMPLES], samples of x -> x with u, float32.

  Every chunk hears u, as loud as the budget allows that chunk, so the budget holds for
  the clip as well; nothing is added to padding.
  """
  hear = jax.jit(lambda batch, u: heard(threat, batch, u))

  def perturbed(x: np.ndarray, u: np.ndarray, samples: int) -> np.ndarray:
    chunks = x.reshape(-1, CHUNK_SAMPLES)
    mask = (np.arange(len(x)) < samples).astype(np.float32).reshape(chunks.shape)
    none = np.zeros(len(chunks), np.int32)
    return np.asarray(hear(Example(none, chunks, mask, none, none), u)).ravel()

  return perturbed


def snr_db(x: np.ndarray, y: np.ndarray) -> float:
  """10 log10(|x|^2 / |y - x|^2); inf where they are the same. [n], [n] -> []."""
  noise = np.linalg.norm(np.float64(y) - x)
  return (
    float(20 * np.log10(np.linalg.norm(np.float64(x)) / noise)) if noise else np.inf
  )


def like_noise(
  x: np.ndarray, y: np.ndarray, samples: int, threat: Threat, seed: Sequence[int]
) -> np.ndarray:
  """x with white Gaussian noise as loud as what y adds to it. [n], [n] -> [n]."""
  noise = np.zeros(len(x))
  noise[:samples] = np.random.default_rng(seed).normal(size=samples)
  noise *= np.linalg.norm(np.float64(y) - x) / np.linalg.norm(noise)
  return np.clip(x + noise, *threat.box).astype(np.float32)


class Judge(NamedTuple):
  """A victim, and the clips that it is tested on. logits: of `judge.judge`.

  clean: what it says of clean clips, by Clip.index; filled as they are first judged.
  """

  victim: Victim
  logits: Callable[[Any, np.ndarray], np.ndarray]
  clips: Sequence[data.Clip]
  threat: Threat
  settings: Mapping[str, Any]
  skipped: dict[str, str]
  clean: dict[int, int]

  def test(self, u: np.ndarray, *, noise: bool = True) -> list[Heard]:
    """A row for every clip that can be used; noise False: nothing is said of noise."""
    said: dict[int, dict[str, tuple[int, float]]] = {}
    judged = answers(
      self.logits,
      self.victim.variables,
      self._voices(u, noise),
      self.settings["runtime"]["batch_chunks"] * CHUNK_SAMPLES,
    )
    silent = set()
    for (clip, voice, snr), probs in judged:
      if np.isnan(probs).any():
        silent.add(clip.index)
        self.skipped[clip.file] = NO_ANSWER
      elif voice == "clean":
        self.clean[clip.index] = int(probs.argmax())
      else:
        said.setdefault(clip.index, {})[voice] = int(probs.argmax()), snr
    clips = [c for c in self.clips if c.index in said and c.index not in silent]
    return [self._row(clip, said[clip.index]) for clip in clips]

  def _voices(self, u, noise) -> Iterator[tuple[tuple[data.Clip, str, float], Any]]:
    """((clip, which, SNR), x): the clean one only where it is not known."""
    hear = perturb(self.threat)
    loaded = data.load(
      # a length after another: each is compiled as its first clip comes
      [clip for _, some in data.by_bucket(self.clips) for clip in some],
      band_limit_hz=self.settings["data"]["band_limit_hz"],
      threads=self.settings["runtime"]["threads"],
      processes=self.settings["runtime"]["processes"],
    )
    for clip, x, samples in data.usable(loaded, self.skipped, lambda note: None):
      if clip.index not in self.clean:
        yield (clip, "clean", np.inf), x
      y = hear(x, u, samples)
      yield (clip, "universal", snr_db(x, y)), y
      if noise:
        seed = self.settings["seed"], clip.index
        z = like_noise(x, y, samples, self.threat, seed)
        yield (clip, "noise", snr_db(x, z)), z

  def _row(self, clip, said) -> Heard:
    names = self.victim.classes
    (universal, snr), (noise, noise_snr) = said["universal"], said.get("noise", _UNSAID)
    return Heard(
      self.victim.name,
      clip.index,
      clip.file,
      names[clip.label],
      names[self.clean[clip.index]],
      names[universal],
      names[noise] if "noise" in said else "",
      snr,
      noise_snr,
    )


_UNSAID = (0, float("inf"))


def write_test(path: Path, rows: Sequence[Heard]) -> None:
  """The rows as CSV with their names as header, whole or not at all."""
  table = io.StringIO()
  csv.writer(table, lineterminator="\n").writerows([Heard._fields, *rows])
  workdir.write_text(path, table.getvalue())
