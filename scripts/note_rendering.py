"""Render single notes of a soundfont with the fluidsynth command."""

import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

RATE = 44100  # Hz
SLOT = 4  # seconds from the start of one note to the start of the next
TICKS = 960  # MIDI ticks in a second: 480 in a beat of half a second


def _variable_length(value: int) -> bytes:
  """Return a number in MIDI's variable-length form."""
  out = [value & 0x7F]
  while value := value >> 7:
    out.insert(0, 0x80 | (value & 0x7F))
  return bytes(out)


def midi_file(program: int, notes: list[tuple[int, int, float]]) -> bytes:
  """Return a MIDI file with one note every SLOT seconds.

  Args:
    program: General MIDI program, 0 to 127.
    notes: (key, velocity, length in seconds) of each note.
  """
  track = b"\x00" + bytes([0xC0, program])
  wait = 0
  for key, velocity, seconds in notes:
    held = round(seconds * TICKS)
    track += _variable_length(wait) + bytes([0x90, key, velocity])
    track += _variable_length(held) + bytes([0x80, key, 0])
    wait = SLOT * TICKS - held
  track += _variable_length(wait) + b"\xff\x2f\x00"
  head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480)
  return head + b"MTrk" + struct.pack(">I", len(track)) + track


def render(font: Path, program: int, notes) -> list[tuple[np.ndarray, int]]:
  """Return each note as (float64 (SLOT * RATE,), RATE), without reverb or chorus."""
  with tempfile.TemporaryDirectory() as folder:
    midi, raw = Path(folder) / "notes.mid", Path(folder) / "notes.raw"
    midi.write_bytes(midi_file(program, notes))
    command = ["fluidsynth", "-n", "-i", "-q", "-g", "0.5", "-R", "0", "-C", "0"]
    command += ["-r", str(RATE), "-T", "raw", "-O", "s16", "-E", "little"]
    command += ["-o", "synth.dynamic-sample-loading=1"]
    command += ["-F", str(raw), str(font), str(midi)]
    subprocess.run(command, check=True, capture_output=True)
    stereo = np.frombuffer(raw.read_bytes(), "<i2").reshape(-1, 2) / 32768.0
  step = SLOT * RATE
  return [(stereo[i * step : (i + 1) * step, 0], RATE) for i in range(len(notes))]
