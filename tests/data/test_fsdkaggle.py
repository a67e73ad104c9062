"""Both layouts of FSDKaggle2018, and every way in which a folder can be wrong."""

import csv
from pathlib import Path

import pytest

from jaxadv.data import fsdkaggle
from jaxadv.data.fsdkaggle import CLASSES, read_dataset
from jaxadv.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "FSDKaggle2018"

TRAIN = "FSDKaggle2018.meta/train_post_competition.csv"
TRAIN_COLUMNS = "fname,label,manually_verified,freesound_id,license"
TEST_COLUMNS = "fname,label,usage,freesound_id,license"


def write(root: Path, folder: str, table: str, *lines: str) -> Path:
  (root / folder).mkdir(parents=True, exist_ok=True)
  (root / table).parent.mkdir(parents=True, exist_ok=True)
  (root / table).write_text("".join(f"{line}\n" for line in lines))
  return root


def write_train(root: Path, *rows: str, columns: str = TRAIN_COLUMNS) -> Path:
  return write(root, "FSDKaggle2018.audio_train", TRAIN, columns, *rows)


def test_class_indices_are_those_of_the_papers():
  # the numbers that SPEC.md H1 prints next to the names
  known = {
    "Bass_drum": 3,
    "Cello": 6,
    "Clarinet": 8,
    "Glockenspiel": 19,
    "Gunshot_or_gunfire": 21,
    "Oboe": 29,
    "Snare_drum": 33,
    "Tearing": 36,
    "Telephone": 37,
    "Trumpet": 38,
    "Violin_or_fiddle": 39,
    "Writing": 40,
  }
  assert {name: CLASSES.index(name) for name in known} == known
  assert len(set(CLASSES)) == 41 and list(CLASSES) == sorted(CLASSES)


def test_official_train(tmp_path):
  root = write_train(tmp_path, "b.wav,Oboe,0,1,x", "a.flac,Bus,1,2,x", "c.wav,Oboe,1,,")
  data = read_dataset(root, "train")
  assert data.classes == ("Bus", "Oboe")
  folder = root / "FSDKaggle2018.audio_train"
  assert data.clips == (
    (0, "b.wav", folder / "b.wav", 1, False),
    (1, "a.flac", folder / "a.flac", 0, True),
    (2, "c.wav", folder / "c.wav", 1, True),
  )


def test_verified_only_keeps_row_numbers_and_classes(tmp_path):
  root = write_train(tmp_path, "b.wav,Bark,0,1,x", "a.wav,Oboe,1,2,x")
  data = read_dataset(root, "train", verified_only=True)
  assert data.classes == ("Bark", "Oboe")
  assert [(clip.index, clip.file, clip.label) for clip in data.clips] == [
    (1, "a.wav", 1)
  ]


def test_kaggle_leaves_out_ignored_clips(tmp_path):
  write(
    tmp_path, "audio_train", "train.csv", "fname,label,manually_verified", "a,Bus,0"
  )
  write(
    tmp_path,
    "audio_test",
    "test_post_competition.csv",
    TEST_COLUMNS,
    "x.wav,None,Ignored,,",
    "v.wav,Bus,Ignored,,",
    "w.wav,None,Private,,",
    "y.wav,Bark,Public,1,x",
    "z.wav,Bus,Private,1,x",
  )
  test = read_dataset(tmp_path, "test")
  assert [
    (clip.index, clip.file, clip.label, clip.verified) for clip in test.clips
  ] == [
    (3, "y.wav", 0, True),
    (4, "z.wav", 1, True),
  ]
  assert test.clips[0].path == tmp_path / "audio_test" / "y.wav"
  train = read_dataset(str(tmp_path), "train")
  assert train.clips[0].path == tmp_path / "audio_train" / "a"


def test_the_official_layout_comes_first(tmp_path):
  write(tmp_path, "audio_train", "train.csv", TRAIN_COLUMNS, "kaggle.wav,Bus,1,1,x")
  write_train(tmp_path, "official.wav,Bus,1,1,x")
  assert read_dataset(tmp_path, "train").clips[0].file == "official.wav"


def test_a_victims_classes_number_the_labels(tmp_path):
  root = write_train(tmp_path, "a.wav,Oboe,1,1,x")
  assert read_dataset(root, "train", classes=CLASSES).clips[0].label == 29
  assert read_dataset(root, "train", classes=["Oboe", "Bus"]).clips[0].label == 0


def test_own_labels_need_no_vocabulary(tmp_path):
  root = write_train(tmp_path, "a.wav,Whale,1,1,x", "b.wav,Ant,1,1,x")
  data = read_dataset(root, "train", vocabulary=None)
  assert data.classes == ("Ant", "Whale")
  with pytest.raises(InputError, match=r"Whale.*line 2.*vocabulary"):
    read_dataset(root, "train")


def test_spreadsheets_byte_order_mark_is_read_over(tmp_path):
  root = write_train(tmp_path, "a.wav,Bus,1,1,x", columns="\ufeff" + TRAIN_COLUMNS)
  assert read_dataset(root, "train").clips[0].file == "a.wav"


BAD_TABLES = [
  ("empty file", "", [], "is empty"),
  ("header only", TRAIN_COLUMNS, [], "lists no clips"),
  ("no label", "fname,class", ["a.wav,Bus"], "no column label .it has fname, class."),
  ("no fname", "file,label", ["a.wav,Bus"], "no column fname"),
  (
    "twice",
    TRAIN_COLUMNS,
    ["a.wav,Bus,1,1,x", "b.wav,Bus,1,1,x", "a.wav,Oboe,1,1,x"],
    "a.wav twice, on lines 2 and 4",
  ),
  ("typo", TRAIN_COLUMNS, ["a.wav,Obo,1,1,x"], 'a.wav the label "Obo" on line 2'),
  ("blank", TRAIN_COLUMNS, ["a.wav,,1,1,x"], "no label on line 2"),
  ("short row", TRAIN_COLUMNS, ["a.wav"], "no label on line 2"),
  ("verified", TRAIN_COLUMNS, ["a.wav,Bus,yes,1,x"], '"yes" on line 2: use 0 or 1'),
]


@pytest.mark.parametrize(
  "columns, rows, words",
  [case[1:] for case in BAD_TABLES],
  ids=[case[0] for case in BAD_TABLES],
)
def test_bad_table(tmp_path, columns, rows, words):
  root = write_train(tmp_path, *rows, columns=columns)
  if not columns:
    (root / TRAIN).write_text("")
  with pytest.raises(InputError, match=words) as caught:
    read_dataset(root, "train")
  assert str(root / TRAIN) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_not_utf8(tmp_path):
  root = write_train(tmp_path)
  (root / TRAIN).write_bytes(b"fname,label\na.wav,\xff\xfe\n")
  with pytest.raises(InputError, match="UTF-8"):
    read_dataset(root, "train")


def test_verified_only_needs_the_column_and_a_clip(tmp_path):
  root = write_train(tmp_path, "a.wav,Bus", columns="fname,label")
  assert read_dataset(root, "train").clips[0].verified is False
  with pytest.raises(InputError, match="no column manually_verified"):
    read_dataset(root, "train", verified_only=True)
  root = write_train(tmp_path / "none", "a.wav,Bus,0,1,x")
  with pytest.raises(InputError, match="no verified clip"):
    read_dataset(root, "train", verified_only=True)


def test_label_outside_the_victims_classes(tmp_path):
  root = write_train(tmp_path, "a.wav,Bus,1,1,x", "b.wav,Oboe,1,1,x")
  with pytest.raises(InputError, match=r'"Oboe" of b.wav .*line 3.*2 classes: remove'):
    read_dataset(root, "train", classes=("Bus", "Cello"))
  with pytest.raises(InputError, match='"Bus" twice'):
    read_dataset(root, "train", classes=("Bus", "Oboe", "Bus"))


def test_missing_folder_and_csv(tmp_path):
  with pytest.raises(InputError, match=r"no data folder.*nowhere"):
    read_dataset(tmp_path / "nowhere", "train")
  with pytest.raises(InputError) as caught:
    read_dataset(tmp_path, "test")
  for words in ("FSDKaggle2018.audio_test", " or audio_test", "test recordings"):
    assert words in str(caught.value)
  (tmp_path / "audio_train").mkdir()
  with pytest.raises(InputError, match=r"audio_train but no train\.csv"):
    read_dataset(tmp_path, "train")
  with pytest.raises(InputError, match='split "dev": use'):
    read_dataset(tmp_path, "dev")


def test_bundled_is_the_packages_own_folder(tmp_path, monkeypatch):
  package = tmp_path / "package"
  write_train(package / "bundled", "a.wav,Bus,1,1,x")
  monkeypatch.setattr(fsdkaggle, "__file__", str(package / "fsdkaggle.py"))
  folder = package / "bundled" / "FSDKaggle2018.audio_train"
  assert read_dataset("bundled", "train").clips[0].path == folder / "a.wav"
  # a folder of that name is still within reach
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match="no data folder bundled"):
    read_dataset(Path("bundled"), "train")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings in {SHARED}")
@pytest.mark.parametrize(
  "split, table",
  [
    ("train", TRAIN),
    ("test", "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv"),
  ],
)
def test_real_recordings(split, table):
  data = read_dataset(SHARED, split, classes=CLASSES)
  with (SHARED / table).open(newline="") as file:
    rows = list(csv.reader(file))[1:]
  assert len(rows) >= 60
  assert [(c.file, CLASSES[c.label]) for c in data.clips] == [
    (r[0], r[1]) for r in rows
  ]
  assert all(clip.path.is_file() and clip.verified for clip in data.clips)
