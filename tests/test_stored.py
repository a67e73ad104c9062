"""Which transform of a list an attack went through, whatever it is called there."""

from pathlib import Path

from jaxadv import build, stored
from jaxadv.report.folder import Run

LISTED = build.transforms(
  {
    "codec": {"transform": "opus", "bitrate_kbit": 48},
    "loud": {"transform": "noise", "snr_db": 20.0},
  }
)
THROUGH = {
  "none": None,
  "written otherwise": {"transform": "opus"},
  "a set": {
    "transform": "any",
    "one": {"transform": "noise", "snr_db": 20.0},
    "two": {"transform": "mp3"},
  },
  "not here": {"transform": "noise", "snr_db": 30.0},
}


def known(attack: str) -> str | None:
  attacks = {name: {"through": entry} for name, entry in THROUGH.items() if entry}
  run = Run(Path(), [], {"attacks": attacks}, {}, [], {})
  return stored.known_transform(run, attack, LISTED)


def test_a_transform_is_known_by_what_it_does():
  assert known("none") is None
  assert known("written otherwise") == "codec"
  assert known("a set") == 'loud + {"transform": "mp3"}'


def test_what_is_not_listed_at_all_is_said():
  examples = [
    stored.Example(Path(), str(n), {"through": known(attack)})
    for n, attack in enumerate(THROUGH)
  ]
  assert stored.not_listed(examples, LISTED) == [known("not here")]
  assert stored.not_listed(examples[:3], LISTED) == []
