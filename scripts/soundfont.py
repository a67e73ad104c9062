"""Read the recordings stored in a SoundFont 2 file, as they are, without synthesis."""

import struct
from pathlib import Path

import numpy as np

HEADER = struct.Struct("<20sIIIIIBbHH")


def _chunks(data, start, end):
  """Yield (identifier, first byte, number of bytes) of the RIFF chunks in a range."""
  while start < end:
    name, size = struct.unpack_from("<4sI", data, start)
    yield name, start + 8, size
    start += 8 + size + (size & 1)


class SoundFont:
  """The sample table of one file; the samples stay on disk until they are asked for."""

  def __init__(self, path: Path):
    self._data = np.memmap(path, mode="r", dtype=np.uint8)
    parts = self._find_parts()
    self._first = parts[b"sdtasmpl"][0]
    self._table = self._read_table(*parts[b"pdtashdr"])

  def _find_parts(self):
    """Map each list and chunk name (8 bytes) to its first byte and size."""
    view, parts = self._data.data, {}
    for name, start, size in _chunks(view, 12, len(view)):
      if name == b"LIST":
        kind = bytes(view[start : start + 4])
        for inner, first, length in _chunks(view, start + 4, start + size):
          parts[kind + inner] = (first, length)
    return parts

  def _read_table(self, start, size):
    """Map each sample's name to (first sample, end sample, rate in hertz)."""
    table, view = {}, self._data.data
    for index in range(size // HEADER.size - 1):  # the last record only marks the end
      fields = HEADER.unpack_from(view, start + index * HEADER.size)
      name = fields[0].split(b"\0")[0].decode("latin-1").strip()
      table.setdefault(name, (fields[1], fields[2], fields[5]))
    return table

  def names(self) -> list[str]:
    """Return the names of all samples."""
    return list(self._table)

  def read(self, name: str) -> tuple[np.ndarray, int]:
    """Return one sample, float64 (n,) in -1 to 1, and its rate in hertz."""
    first, end, rate = self._table[name]
    raw = self._data[self._first + 2 * first : self._first + 2 * end].tobytes()
    return np.frombuffer(raw, "<i2") / 32768.0, rate
