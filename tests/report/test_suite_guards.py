"""Suite guards: rows made for a flag raise it, and it alone; sound rows raise none."""

import json

import pytest
from run_by_hand import failed, make_row

from jaxadv import report, results
from jaxadv.report.folder import read_run
from jaxadv.report.guards import examine, headline, to_text, watch

SNR = {"norm": "l2", "budget": "snr_db", "radius": 20.0}
SOUND = {
  "pgd": SNR | {"method": "pgd"},
  "fgsm": SNR | {"method": "fgsm"},
  "noise": SNR | {"method": "white_noise"},
  "pgd loud": SNR | {"method": "pgd", "radius": 0.0},
  "pgd margin": SNR | {"method": "pgd", "loss": "margin"},
  "cw": {"method": "carlini_wagner", "norm": "l2"},
}
PREFLIGHT = {"attacks": [], "clips": ["0.wav"], "seconds": 1.0, "flags": []}
STEPS = {"fgsm": (2, 2), "noise": (1, 0)}
WON = {"fgsm": 4, "noise": 2, "pgd": 6, "pgd margin": 6}  # of 8; the others win all


def rows(**changed) -> list[dict]:
  """Eight clips under each attack of SOUND. changed: attack -> {clip: changes}."""
  made = []
  for attack in SOUND:
    steps, backward = STEPS.get(attack, (20, 20))
    changes = changed.get(attack.replace(" ", "_"), {})
    for clip in range(8):
      lost = {} if clip < WON.get(attack, 8) else failed()
      row = make_row(clip, attack, steps=steps, backward_passes=backward, **lost)
      made.append(row | {"l2": 0.5 if attack == "cw" else 1.0} | changes.get(clip, {}))
  return made


def run(folder, some, config=None, guards=PREFLIGHT):
  results.append(folder, some)
  listed = SOUND if config is None else config
  (folder / "config.json").write_text(json.dumps({"attacks": listed}))
  if guards:
    (folder / "guards.json").write_text(json.dumps(guards))
  return read_run(folder)


LOST, TARGET = failed(), {"target": "Oboe"}
RAISED = {
  "judged again": ({"pgd": {1: {"success_loop": False}}}, "pgd", [1]),
  "success kept": ({"pgd": {5: {"success": False}}}, "pgd", [5]),
  "silent success": (
    {"pgd": {7: {"silent_success": True}, 6: {"silent_success": True}}},
    "pgd",
    [6, 7],
  ),
  "inside the threat": ({"fgsm": {3: {"within_threat": False}}}, "fgsm", [3]),
  "NaN": ({"cw": {2: {"nan_steps": 1}}}, "cw", [2]),
  "zero gradients": (
    # one in a failure, or half of all; one in a success is nothing
    {"pgd": {n: {"zero_gradients": z} for n, z in ((7, 1), (0, 10), (1, 1))}},
    "pgd",
    [0, 7],
  ),
  "iterative >= single step": (
    {"fgsm": {6: {"success": True, "success_loop": True}}},
    "pgd",
    [6],
  ),
  "gradient >= no gradient": (
    {"noise": {6: {"success": True, "success_loop": True}}},
    "pgd",
    [6],
  ),
  "larger radius >= smaller": ({"pgd_loud": {5: LOST}}, "pgd loud", [5]),
  "no limit, all fooled": ({"cw": {7: LOST}}, "cw", [7]),
  "converged": ({"pgd": {6: {"late_drop": 0.06}, 7: {"late_drop": 0.04}}}, "pgd", [6]),
  "losses agree": (
    {"pgd_margin": {0: LOST, 5: LOST}},
    "pgd, pgd margin",
    [0, 5],
  ),
}  # fmt: skip


def test_sound_rows_raise_none(tmp_path):
  found = examine(run(tmp_path, rows()))
  assert found.findings == []
  assert set(found.passed) == {"victim", *RAISED}
  assert found.untested == [("targeted attacks", "the run has no targets")]
  text = to_text(found)
  assert headline(found) in text and "no flag raised" in text
  assert "not tested: targeted attacks" in text


@pytest.mark.parametrize("guard", RAISED)
def test_rows_made_for_a_flag_raise_it(tmp_path, guard):
  changed, attack, clips = RAISED[guard]
  found = examine(run(tmp_path, rows(**changed)))
  mine = [f for f in found.findings if f.guard == guard and f.attack == attack]
  assert len(mine) == 1
  assert mine[0].examples == tuple(f"clip {n}#.wav" for n in clips)
  assert guard not in found.passed
  others = {f.guard for f in found.findings} - {guard}
  # what fails at a huge radius also fails where smaller ones or others win, and a loss
  # that loses clips also loses them to the single step
  allowed = {
    "success kept": {"judged again"},
    "larger radius >= smaller": {"no limit, all fooled"},
    "losses agree": {"iterative >= single step", "gradient >= no gradient"},
  }
  assert others <= allowed.get(guard, set())


@pytest.mark.parametrize(
  "clips, lost, won, falls",
  [(200, 1, 0, False), (199, 1, 0, True), (199, 2, 1, True), (199, 1, 1, False)],
)
def test_success_may_fall_by_half_a_point(tmp_path, clips, lost, won, falls):
  made = [make_row(n, "pgd", precision="bfloat16") for n in range(clips)]
  # those that were wrong before, and those without a loop, are not in the rate
  made += [make_row(900, "pgd", clean_correct=False, success=False)]
  made += [make_row(901, "pgd", success_loop=None, success=False)]
  for row in made[:lost]:
    row["success"] = False
  for row in made[lost : lost + won]:
    row["success_loop"] = False
  found = examine(run(tmp_path, made, config={}))
  mine = [f for f in found.findings if f.guard == "success kept"]
  assert ("success kept" in found.passed) == (not falls) == (not mine)
  if falls:
    assert len(mine[0].examples) == lost and "bfloat16 precision" in mine[0].said
    assert f"{100 / 199:.1f} points" in mine[0].said


def test_one_flag_for_all_rivals_of_a_sweep(tmp_path):
  won = {"success": True, "success_loop": True}
  config = {"pgd": SNR | {"method": "pgd"}}
  made = [row for row in rows() if row["attack"] == "pgd"]
  for rival, beats in (("a", [6]), ("b", [6, 7]), ("c", []), ("d", [0, 7])):
    config[rival] = SNR | {"method": "fgsm", "radius": 20.0 + len(config)}
    for clip in range(8):
      result = won if clip in beats or clip < 4 else failed()
      row = make_row(clip, rival, steps=2, backward_passes=2, **result)
      made.append(row | {"l2": 1.0})
  findings = examine(run(tmp_path, made, config)).findings
  (found,) = (f for f in findings if f.guard == "iterative >= single step")
  assert found.attack == "pgd"
  assert "b, a single step, beats pgd on 2 clips" in found.said
  assert "(2 more like it beat it, on 2 clips in all)" in found.said
  assert found.examples == ("clip 6#.wav", "clip 7#.wav")


def test_attacks_through_a_transform_are_not_judged_without_it(tmp_path):
  aware = {"transform": "noise", "snr_db": 20.0}
  config = SOUND | {"pgd": SOUND["pgd"] | {"through": aware}}
  lost = {n: {"success": False, "nan_steps": int(n == 3)} for n in range(8)}
  found = examine(run(tmp_path, rows(pgd=lost), config))
  assert [(f.guard, f.attack) for f in found.findings] == [("NaN", "pgd")]
  alone = [row for row in rows() if row["attack"] == "pgd"]
  untested = dict(examine(run(tmp_path / "alone", alone, config)).untested)
  assert {"judged again", "silent success", "success kept"} <= set(untested)


@pytest.mark.parametrize(
  "asked",
  [
    {"confidence": 2.0},
    {"method": "carlini_wagner", "norm": "l2", "variant": "subramanian"},
  ],
)
def test_an_attack_may_ask_for_more_than_the_label(tmp_path, asked):
  """What it calls a failure may be a success, and never the other way round."""
  config = SOUND | {"pgd": SOUND["pgd"] | asked}
  lost = {1: {"success_loop": False}, 2: {"success": False, "success_pcm16": False}}
  findings = examine(run(tmp_path, rows(pgd=lost), config)).findings
  (found,) = (f for f in findings if f.guard == "judged again")
  assert found.examples == ("clip 2#.wav",)


def test_an_ensemble_whose_last_resort_wins_is_flagged(tmp_path):
  config = {"aa": SNR | {"method": "autoattack"}}
  by = ["apgd", "apgd", "apgd_targeted", "fab", "square", "square", None, None]
  made = [
    make_row(n, "aa", steps=20, backward_passes=20, found_by=stage)
    | ({} if stage else failed())
    for n, stage in enumerate(by)
  ]
  (one,) = examine(run(tmp_path / "flagged", made, config)).findings
  assert (one.guard, one.attack) == ("gradient >= no gradient", "aa")
  assert one.examples == ("clip 4#.wav", "clip 5#.wav")
  sound = [row | {"found_by": row["found_by"] and "apgd"} for row in made]
  found = examine(run(tmp_path / "sound", sound, config))
  assert found.findings == [] and "gradient >= no gradient" in found.passed


def test_a_minimum_norm_attack_may_not_need_more_than_noise(tmp_path):
  louder = {1: {"l2": 1.1}, 6: {"l2": 1.1}}  # noise at 1.0 fools clip 1, and not 6
  found = examine(run(tmp_path, rows(cw=louder)))
  guards = {f.guard: f.examples for f in found.findings if f.attack == "cw"}
  assert guards["gradient >= no gradient"] == ("clip 1#.wav",)


def test_clips_that_were_wrong_before_count_nowhere(tmp_path):
  wrong = {"clean_correct": False, "success": True, "success_loop": True}
  differ = wrong | {"success_loop": False}
  found = examine(run(tmp_path, rows(noise={7: wrong}, fgsm={7: wrong, 6: differ})))
  assert found.findings == []


def test_what_the_run_cannot_test_is_said(tmp_path):
  config = {"pgd": SOUND["pgd"]}
  some = [row for row in rows() if row["attack"] == "pgd"]
  found = examine(run(tmp_path, some, config, guards=None))
  assert found.findings == []
  untested = dict(found.untested)
  assert "runtime.guards" in untested["victim"]
  for guard in RAISED:
    of_pairs = any(sign in guard for sign in (">=", "no limit", "losses"))
    assert (guard in untested) == of_pairs


def test_budgets_per_frame_and_per_clip_are_not_compared(tmp_path):
  framed = SOUND | {"fgsm": SOUND["fgsm"] | {"frame_samples": 2048}}
  won = rows(fgsm={6: {"success": True, "success_loop": True}})
  assert examine(run(tmp_path / "alike", won)).findings
  assert examine(run(tmp_path / "framed", won, framed)).findings == []


def test_other_norms_and_smaller_budgets_are_not_compared(tmp_path):
  config = SOUND | {
    "fgsm": SNR | {"method": "fgsm", "radius": 10.0},
    "noise": SNR | {"method": "white_noise", "norm": "linf"},
    "cw": {"method": "any without gradients and limit", "norm": "l2"},
  }
  config = {name: config[name] for name in ("pgd", "fgsm", "noise", "cw")}
  some = [row for row in rows() if row["attack"] in config]
  won = dict.fromkeys(("success", "success_loop", "success_pcm16"), True)
  blind = {"backward_passes": 0}
  some = [r | won if r["attack"] != "pgd" else r for r in some]
  some = [r | blind if r["attack"] == "cw" else r for r in some]
  found = examine(run(tmp_path, some, config))
  assert found.findings == []
  assert {"iterative >= single step", "gradient >= no gradient"} <= dict(
    found.untested
  ).keys()


def test_the_preflight_is_told_on_the_page_and_in_the_tables(tmp_path):
  flag = {"name": "random", "said": "it <changes>", "examples": ["a&b.wav", "c.wav"]}
  run(tmp_path, rows(), guards=PREFLIGHT | {"flags": [flag]})
  printed = report.write_report(tmp_path)
  assert "Guards: 1 flag raised" in printed
  assert "random: it <changes> [2: a&b.wav, c.wav]" in printed
  page = (tmp_path / "index.html").read_text(encoding="utf-8")
  folded = page[page.index("<details") : page.index("</details>")]
  assert "random: 2 examples" in folded and "a&amp;b.wav" in folded
  assert 'id="guards"' in page and "Guards: 1 flag raised" in page
  summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
  assert "## Guards: 1 flag raised" in summary and "## In the steps" in summary
  for stem in ("guards", "watch"):
    for suffix in ("md", "csv", "tex"):
      assert (tmp_path / "tables" / f"{stem}.{suffix}").stat().st_size > 50


def test_the_watch_is_the_hand_computation():
  some = [
    make_row(0, "a", first_success_step=3, nan_steps=2, clipped=0.5, late_drop=0.5),
    make_row(1, "a", first_success_step=9, zero_gradients=4, late_drop=None),
    make_row(2, "a", **failed(within_threat=False, silent_success=True)),
    make_row(3, "a", clean_correct=False, nan_steps=9),
  ]
  assert watch(some).rows == [("a", "6", "2", "4", "16.67", "25.00", "1", "1")]
