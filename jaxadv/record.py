"""From an attack's outcome to what is stored: WAV files, judged again, and a row."""

import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soundfile

from jaxadv import results, workdir
from jaxadv.core import Example
from jaxadv.data import Clip, pad_to_chunks
from jaxadv.engine import Outcome
from jaxadv.ensemble import Found
from jaxadv.entries import AttackPlan
from jaxadv.judge import NO_ANSWER, softmax
from jaxadv.models.frontends import SAMPLE_RATE_HZ
from jaxadv.problem import Threat
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
  found: Found


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


def within_threat(threat: Threat, example: Example, heard: np.ndarray) -> bool:
  """Whether stored samples [n] keep to ball, box and mask, in float64.

  Of the perturbations that float32 rounds to `heard`, the smallest counts, and the
  radius may be missed by 1e-5 of it.
  """
  x, y = np.float64(example.x), np.float64(heard)
  low, high = threat.box
  boxed = (y >= low).all() and (y <= high).all()
  masked = (y == x)[np.asarray(example.mask) == 0].all()
  rounded = np.spacing(np.abs(np.float32(heard))) / 2
  delta = np.sign(y - x) * np.maximum(np.abs(y - x) - rounded, 0)
  with jax.enable_x64(True):
    radius = threat.radius_of(example._replace(x=jnp.asarray(x)))
    balled = threat.norm.size(jnp.asarray(delta)) <= radius * (1 + 1e-5)
  return bool(boxed and masked and balled)


def _sha256(samples: np.ndarray) -> str:
  return hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()


def late_drop(outcome: Outcome) -> float | None:
  """How far the loss fell in the last 10% of the steps, of its size then.

  None where the attack ended before, or saw no number.
  """
  late, last = float(outcome.watch.late_loss), float(outcome.best.loss)
  if not np.isfinite([late, last]).all():
    return None
  return max(0.0, late - last) / max(abs(late), 1e-6)


def snr_of_mean_db(x: np.ndarray, delta: np.ndarray) -> float:
  """10 log10(mean(x^2) / mean(delta)^2), dB: no SNR, but what P1's Table 4 prints.

  x, delta: [samples], zero-padded. In place of the noise's power, mean(delta^2), stands
  the square of its mean, which is near 0: 109 dB for noise at 50 dB. The code of
  Subramanian et al., Adversarial attacks in sound event classification, 2019, Table 4,
  targeted Carlini-Wagner. inf where the mean is 0.
  """
  mean = float(np.mean(delta, dtype=np.float64))
  power = float(np.mean(np.square(x, dtype=np.float64)))
  return 10 * np.log10(power / mean**2) if mean else float("inf")


class Recorder:
  """Judges and stores finished examples of one attack, a batch at a time.

  logits: params, x [B, samples] -> [B, classes], full precision (`judge.judge`).
  common: what all rows of the attack share.
  batch: examples judged in one call; always that many, so that one program serves, the
  rest being zeros.
  """

  def __init__(
    self,
    folder: Path,
    victim: Victim,
    plan: AttackPlan,
    logits: Callable[[Any, np.ndarray], np.ndarray],
    common: Mapping[str, Any],
    batch: int,
    process: int = 0,
  ):
    self.folder, self.victim, self._logits = folder, victim, logits
    self._common, self.batch = common, batch
    self._plan, self.process = plan, process
    self.skipped: dict[str, str] = {}  # `place` -> why it has no row

  def store(self, finished: list[Finished]) -> list[dict[str, Any]]:
    """Writes the WAVs, then the rows, of at most `batch` examples: the rows.

    What the victim has no answer to has none, and is in `skipped`: the next start tries
    it again, as it does a file that can't be read.
    """
    if not finished:
      return []
    stored = [self._store_wavs(one) for one in finished]
    heard = np.stack([x for _, xs in stored for x in xs])  # clean, float32, PCM16
    padding = ((0, 3 * self.batch - len(heard)), (0, 0))
    logits = self._logits(self.victim.variables, np.pad(heard, padding))
    rows = []
    for n, (one, (paths, xs)) in enumerate(zip(finished, stored, strict=True)):
      said = softmax(logits[3 * n : 3 * n + 3])
      if np.isnan(said).any():
        self.skipped[self.place(one.job)] = NO_ANSWER
      else:
        rows.append(self._row(one, paths, xs, said))
    results.append(self.folder, rows, process=self.process)
    return rows

  def place(self, job: Job) -> str:
    """What an example is called in a list: the attack, the file, the target."""
    aim = f" to {self.victim.classes[job.target]}" if job.target >= 0 else ""
    return f"{self._common['attack']} {job.clip.file}{aim}"

  def _store_wavs(self, one: Finished):
    # the row number in the CSV: two folders may hold files of one name
    original = f"{one.job.clip.index:05d}_{Path(one.job.clip.file).stem}"
    name = original
    if one.job.target >= 0:
      name += f"_to_{self.victim.classes[one.job.target]}"
    folder = f"wav/{self._common['attack']}"
    clean = one.example.x[: one.samples]
    # float32 + float32, as the victim inside the loop heard it
    adversarial = clean + one.found.outcome.best.delta[: one.samples]
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

  def _row(self, one: Finished, paths, heard, said) -> dict[str, Any]:
    names, (label, target) = self.victim.classes, (one.job.clip.label, one.job.target)
    found, threat = one.found, self._plan.threat
    watch = found.watch
    clean, adversarial, pcm16 = said
    delta = heard[1].astype(np.float64) - heard[0]
    l2 = float(np.linalg.norm(delta))
    signal = np.linalg.norm(heard[0].astype(np.float64))

    def fooled(probs):
      said = int(probs.argmax())
      return said == target if target >= 0 else said != label

    success, first = fooled(adversarial), int(watch.first_success)
    low, high = threat.box
    edge = (heard[1] <= low) | (heard[1] >= high)
    return dict(self._common) | {
      "id": one.job.id,
      "file": one.job.clip.file,
      "clip_sha256": _sha256(heard[0][: one.samples]),
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
      "snr_of_mean_db": snr_of_mean_db(heard[0], delta),
      "l2": l2,
      "linf": float(np.abs(delta).max()),
      "success_loop": bool(one.found.outcome.best.success),
      "success": success,
      "success_pcm16": fooled(pcm16),
      "within_threat": within_threat(threat, one.example, heard[1]),
      "silent_success": first > 0 and not success,
      "clipped": float(edge[one.example.mask != 0].mean()),
      "first_success_step": first or None,
      "nan_steps": int(watch.nan_steps),
      "zero_gradients": int(watch.zero_gradients),
      "late_drop": late_drop(found.outcome),
      "found_by": self._found_by(found) if success else None,
      "steps": found.cost.steps,
      "forward_passes": found.cost.forward_passes,
      "backward_passes": found.cost.backward_passes,
      "seconds": found.cost.seconds,
      **paths,
    }

  def _found_by(self, found: Found) -> str | None:
    """The stage of an ensemble that an example fell to."""
    stages = self._plan.stages
    return stages[found.stage].name if len(stages) > 1 else None
