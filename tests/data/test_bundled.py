"""The bundled recordings: complete, unchanged, well formed, balanced and licensed."""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

BUNDLE = Path(__file__).parents[2] / "jaxadv" / "data" / "bundled"
FOLDERS = {"train": "FSDKaggle2018.audio_train", "test": "FSDKaggle2018.audio_test"}
TABLES = {
  "train": "train_post_competition.csv",
  "test": "test_post_competition_scoring_clips.csv",
}
LICENCES = {"CC0-1.0", "CC-BY-3.0", "MIT"}
TARGETED = {
  "Bass_drum",
  "Snare_drum",
  "Cello",
  "Violin_or_fiddle",
  "Clarinet",
  "Oboe",
}
VOCABULARY = {
  "Acoustic_guitar",
  "Applause",
  "Bark",
  "Bass_drum",
  "Burping_or_eructation",
  "Bus",
  "Cello",
  "Chime",
  "Clarinet",
  "Computer_keyboard",
  "Cough",
  "Cowbell",
  "Double_bass",
  "Drawer_open_or_close",
  "Electric_piano",
  "Fart",
  "Finger_snapping",
  "Fireworks",
  "Flute",
  "Glockenspiel",
  "Gong",
  "Gunshot_or_gunfire",
  "Harmonica",
  "Hi-hat",
  "Keys_jangling",
  "Knock",
  "Laughter",
  "Meow",
  "Microwave_oven",
  "Oboe",
  "Saxophone",
  "Scissors",
  "Shatter",
  "Snare_drum",
  "Squeak",
  "Tambourine",
  "Tearing",
  "Telephone",
  "Trumpet",
  "Violin_or_fiddle",
  "Writing",
}
DRUMS = {"Bass_drum", "Snare_drum", "Hi-hat"}


def read_table(path):
  with path.open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def path_of(clip):
  return BUNDLE / FOLDERS[clip["split"]] / clip["fname"]


@pytest.fixture(scope="module")
def clips():
  return read_table(BUNDLE / "attribution.csv")


@pytest.fixture(scope="module")
def audio(clips):
  """Map each file name to its samples, int16 (n,)."""
  return {
    clip["fname"]: soundfile.read(path_of(clip), dtype="int16")[0] for clip in clips
  }


def test_checksums(clips):
  for clip in clips:
    found = hashlib.sha256(path_of(clip).read_bytes()).hexdigest()
    assert found == clip["sha256"], clip["fname"]


@pytest.mark.parametrize("split", FOLDERS)
def test_every_file_is_listed_and_every_listed_file_is_there(clips, split):
  listed = [clip["fname"] for clip in clips if clip["split"] == split]
  assert len(listed) == len(set(listed))
  assert set(listed) == {f.name for f in (BUNDLE / FOLDERS[split]).iterdir()}


@pytest.mark.parametrize("split", FOLDERS)
def test_tables_of_the_data_set_agree_with_the_attributions(clips, split):
  rows = read_table(BUNDLE / "FSDKaggle2018.meta" / TABLES[split])
  middle, value = (
    ("manually_verified", "1") if split == "train" else ("usage", "Public")
  )
  assert list(rows[0]) == ["fname", "label", middle, "freesound_id", "license"]
  assert {row[middle] for row in rows} == {value}
  assert {row["freesound_id"] for row in rows} == {""}
  found = [(row["fname"], row["label"], row["license"]) for row in rows]
  same = [clip for clip in clips if clip["split"] == split]
  assert found == [(clip["fname"], clip["label"], clip["licence"]) for clip in same]


def test_format_and_length(clips):
  for clip in clips:
    info = soundfile.info(path_of(clip))
    form = (info.format, info.subtype, info.channels, info.samplerate)
    assert form == ("FLAC", "PCM_16", 1, 32000), clip["fname"]
    assert 0.3 <= info.duration <= 4
    assert float(clip["duration_s"]) == pytest.approx(info.duration, abs=1e-3)


def test_some_clips_are_longer_than_one_chunk(clips):
  longer = [clip for clip in clips if float(clip["duration_s"]) * 32000 > 65536]
  assert {clip["split"] for clip in longer} == {"train", "test"}


def test_total_size():
  sizes = [f.stat().st_size for f in BUNDLE.rglob("*") if f.suffix != ".py"]
  assert sum(sizes) <= 15_000_000


def test_classes(clips):
  labels = {clip["label"] for clip in clips}
  assert len(labels) >= 12
  assert labels >= TARGETED
  assert labels <= VOCABULARY


def test_counts_and_balance(clips):
  counts = Counter(clip["label"] for clip in clips)
  assert min(counts.values()) >= 24
  assert max(counts.values()) <= 1.5 * min(counts.values())
  tested = Counter(clip["label"] for clip in clips if clip["split"] == "test")
  assert min(tested[label] for label in counts) >= 6


def test_no_source_on_both_sides(clips):
  sides = defaultdict(set)
  for clip in clips:
    assert clip["source"]
    sides[clip["source"]].add(clip["split"])
  assert not [source for source, found in sides.items() if len(found) > 1]


def test_no_recording_twice(clips):
  takes = Counter(
    (clip["package"], clip["original_name"], clip["label"]) for clip in clips
  )
  assert max(takes.values()) == 1


def test_loudness(audio):
  for fname, samples in audio.items():
    scaled = samples / 32768
    # The rule is -3 dB of full scale; rounding moves it by less than 0.01 dB.
    assert 20 * np.log10(np.abs(scaled).max()) == pytest.approx(-3, abs=0.01), fname
    assert np.sqrt(np.mean(scaled**2)) > 0.01, fname
    assert abs(scaled.mean()) < 0.01, fname


def test_no_clipped_clip(audio):
  for fname, samples in audio.items():
    peak = np.abs(samples.astype(np.int32)).max()
    at_peak = np.abs(samples.astype(np.int32)) >= peak
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, at_peak, 0])))[::2]
    assert runs.max() <= 3, fname


def test_only_drum_hits_are_filled_up_with_silence(clips, audio):
  for clip in clips:
    samples = audio[clip["fname"]]
    silence = len(samples) - np.flatnonzero(samples)[-1] - 1
    if clip["label"] not in DRUMS:
      assert silence < 640, clip["fname"]  # the fade-out ends in zeros
    assert silence < 0.75 * len(samples), clip["fname"]


def test_licences(clips):
  assert {clip["licence"] for clip in clips} <= LICENCES
  columns = ("package", "package_version", "original_name", "author")
  assert all(clip[column] for clip in clips for column in columns)


def test_rendered_clips_are_marked_and_kept_apart(clips):
  fonts = defaultdict(set)
  for clip in clips:
    named = clip["original_name"].startswith("program ")
    assert clip["rendered"] == ("1" if named else "0")
    if named:
      fonts[clip["split"]].add(clip["package"])
  assert fonts["train"] and fonts["test"]
  assert not fonts["train"] & fonts["test"]
