"""A small run with all that a report must cope with, made by hand."""

import json
from pathlib import Path

import numpy as np
import soundfile

from jaxadv import results

RATE_HZ = 32000
ODD = "Rock <&> $5_$"  # what HTML, LaTeX, Markdown and matplotlib all trip over
CLASSES = [ODD, "Cello", "Oboe", "Snare_drum"]


def make_row(number: int, attack: str, **changed) -> dict:
  """A successful untargeted row of clip `number`, without its files."""
  row = dict.fromkeys(results.FIELDS)
  row.update(id=number, attack=attack, model="vgg13", file=f"clip {number}#.wav")
  row.update(duration_s=0.25, label="Cello", clean_label="Cello", new_label="Oboe")
  row.update(clean_correct=True, success_loop=True, success=True, success_pcm16=True)
  row.update(gt_conf=0.75, new_conf=0.5, gt_new_conf=0.25, snr_db=40.0, l2=1.0)
  row.update(linf=0.1, steps=10, forward_passes=10, backward_passes=20, seconds=2.0)
  row.update(within_threat=True, silent_success=False, clipped=0.0)
  row.update(first_success_step=2, nan_steps=0, zero_gradients=0, late_drop=0.0)
  row.update(seed=0, config_hash="c0", versions="jax 0.10.2", device="cpu")
  return row | changed


def failed(**changed) -> dict:
  """What differs in a row that fooled nobody."""
  lost = dict.fromkeys(("success_loop", "success", "success_pcm16"), False)
  return lost | {"new_label": "Cello", "first_success_step": None} | changed


def make_rows() -> list[dict]:
  """Attack a: 5 clips; a with targets: 2; "noise": never a success; "b/é": 1."""
  return [
    make_row(0, "a", label=ODD, clean_label=ODD, snr_db=50.0),
    make_row(1, "a", snr_db=20.0, gt_conf=0.25, success_pcm16=False, new_label=ODD),
    make_row(2, "a", snr_db=30.0, clean_correct=False, clean_label="Oboe"),
    make_row(3, "a", **failed(snr_db=np.inf, success_loop=True, steps=30)),
    make_row(4, "a", snr_db=26.0, success_loop=None),
    make_row(5, "a", target="Oboe"),
    make_row(6, "a", target="Snare_drum", **failed()),
    make_row(1, "noise", **failed(snr_db=20.0)),
    make_row(3, "noise", **failed(snr_db=np.inf)),
    make_row(0, "b/é", label=ODD, clean_label=ODD, snr_db=10.0),
    make_row(9, "all wrong", clean_correct=False, clean_label="Oboe"),
  ]


def store_sounds(folder: Path, number: int, row: dict) -> dict:
  """Writes the row's three WAVs and gives the row with their paths."""
  random = np.random.default_rng(row["id"])
  time_s = np.arange(8000) / RATE_HZ
  clean = (0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32)
  noise = 1e-2 * random.uniform(-1, 1, clean.size).astype(np.float32)
  adversarial = clean if np.isinf(row["snr_db"]) else clean + noise
  (folder / "wav").mkdir(parents=True, exist_ok=True)
  paths = {
    "wav": (f"wav/{number}.f32.wav", adversarial, "FLOAT"),
    "wav_pcm16": (f"wav/{number} #16.wav", adversarial, "PCM_16"),
    "wav_clean": (f"wav/clean-{row['id']}.wav", clean, "FLOAT"),
  }
  for path, samples, subtype in paths.values():
    soundfile.write(folder / path, samples, RATE_HZ, subtype=subtype)
  return row | {key: path for key, (path, *_) in paths.items()}


def make_run(folder: Path) -> Path:
  """A run's folder as the experiments leave it."""
  folder.mkdir()
  rows = [store_sounds(folder, n, row) for n, row in enumerate(make_rows())]
  results.append(folder, rows)
  run = {"classes": CLASSES, "model": "vgg13", "command": "attack.py --x=<1>"}
  run |= {"versions": {"jax": "0.10.2"}, "device": "cpu", "notes": {"clips": 7}}
  (folder / "run.json").write_text(json.dumps(run))
  (folder / "config.json").write_text(json.dumps({"seed": 0, "model": {"mels": 64}}))
  (folder / "skipped.csv").write_text('file,reason\nbad.wav,"is <empty>, 0 samples"\n')
  return folder
