"""From an attack's outcome to what is stored: WAV files, judged again, and a row."""

import importlib.metadata
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from jaxadv import results, workdir
from jaxadv.core import Example
from jaxadv.data import Clip, pad_to_chunks
from jaxadv.engine import Outcome
from jaxadv.models.frontends import SAMPLE_RATE_HZ
from jaxadv.victim import Victim


class Job(NamedTuple):
  """One clip to attack towards one target."""

  id: int  # of the example
  clip: Clip
  target: int  # class index; -1: untargeted


class Finished(NamedTuple):
  """An example at its end, not yet judged. samples: of the clip, without padding."""

  job: Job
  example: Example
  samples: int
  outcome: Outcome


def versions() -> str:
  """The libraries that a number may depend on: "jax 0.10.2, jaxlib ..., ..."."""
  names = ("jax", "jaxlib", "flax", "optax", "numpy", "jaxadv")
  return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def wav_bytes(x: np.ndarray, subtype: str) -> bytes:
  """x [samples] as a mono WAV; subtype "FLOAT" or "PCM_16".

  16 bits are rounded to here: libsndfile would cut them off, which doubles the error.
  """
  if subtype == "PCM_16":
    x = np.clip(np.rint(x * 32768.0), -32768, 32767).astype(np.int16)
  buffer = io.BytesIO()
  soundfile.write(buffer, x, SAMPLE_RATE_HZ, subtype=subtype, format="WAV")
  return buffer.getvalue()


def _read_back(wav: bytes) -> np.ndarray:
  return pad_to_chunks(soundfile.read(io.BytesIO(wav), dtype="float32")[0])


class Recorder:
  """Judges and stores finished examples of one attack, a batch at a time.

  logits: params, x [B, samples] -> [B, classes], full precision (`judge.judge`).
  common: what all rows of the attack share. backward_passes: per step.
  batch: examples judged in one call; always that many, so that one program serves, the
  rest being zeros.
  """

  def __init__(
    self,
    folder: Path,
    victim: Victim,
    logits: Callable[[Any, np.ndarray], np.ndarray],
    common: Mapping[str, Any],
    backward_passes: int,
    batch: int,
  ):
    self.folder, self._victim, self._logits = folder, victim, logits
    self._common, self.batch = common, batch
    self._backward_passes = backward_passes

  def store(self, finished: list[Finished]) -> list[dict[str, Any]]:
    """Writes the WAVs, then the rows, of at most `batch` examples: the rows."""
    if not finished:
      return []
    stored = [self._store_wavs(one) for one in finished]
    heard = np.stack([x for _, xs in stored for x in xs])  # clean, float32, PCM16
    padding = ((0, 3 * self.batch - len(heard)), (0, 0))
    logits = self._logits(self._victim.variables, np.pad(heard, padding))
    rows = [
      self._row(one, paths, xs, logits[3 * n : 3 * n + 3])
      for n, (one, (paths, xs)) in enumerate(zip(finished, stored, strict=True))
    ]
    results.append(self.folder, rows)
    return rows

  def _store_wavs(self, one: Finished):
    # the row number in the CSV: two folders may hold files of one name
    original = f"{one.job.clip.index:05d}_{Path(one.job.clip.file).stem}"
    name = original
    if one.job.target >= 0:
      name += f"_to_{self._victim.classes[one.job.target]}"
    folder = f"wav/{self._common['attack']}"
    clean = one.example.x[: one.samples]
    # float32 + float32, as the victim inside the loop heard it
    adversarial = clean + one.outcome.best.delta[: one.samples]
    files = {
      "wav_clean": f"wav/clean/{original}.wav",
      "wav": f"{folder}/{name}.float32.wav",
      "wav_pcm16": f"{folder}/{name}.pcm16.wav",
    }
    wavs = (
      wav_bytes(clean, "FLOAT"),
      wav_bytes(adversarial, "FLOAT"),
      wav_bytes(adversarial, "PCM_16"),
    )
    for file, wav in zip(files.values(), wavs, strict=True):
      path = self.folder / file
      if file != files["wav_clean"] or not path.exists():
        workdir.write_bytes(path, wav)
    return files, [_read_back(wav) for wav in wavs]

  def _row(self, one: Finished, paths, heard, logits) -> dict[str, Any]:
    names, (label, target) = self._victim.classes, (one.job.clip.label, one.job.target)
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    clean, adversarial, pcm16 = shifted / shifted.sum(1, keepdims=True)
    delta = heard[1].astype(np.float64) - heard[0]
    l2 = float(np.linalg.norm(delta))
    signal = np.linalg.norm(heard[0].astype(np.float64))

    def fooled(probs):
      said = int(probs.argmax())
      return said == target if target >= 0 else said != label

    return dict(self._common) | {
      "id": one.job.id,
      "file": one.job.clip.file,
      "duration_s": one.samples / SAMPLE_RATE_HZ,
      "label": names[label],
      "target": names[target] if target >= 0 else None,
      "clean_label": names[clean.argmax()],
      "new_label": names[adversarial.argmax()],
      "clean_correct": bool(clean.argmax() == label),
      "gt_conf": clean[label],
      "new_conf": adversarial.max(),
      "gt_new_conf": adversarial[label],
      "snr_db": 20 * np.log10(signal / l2) if l2 else float("inf"),
      "l2": l2,
      "linf": float(np.abs(delta).max()),
      "success_loop": bool(one.outcome.best.success),
      "success": fooled(adversarial),
      "success_pcm16": fooled(pcm16),
      "steps": one.outcome.steps,
      "forward_passes": one.outcome.steps,
      "backward_passes": one.outcome.steps * self._backward_passes,
      "seconds": one.outcome.seconds,
      **paths,
    }
