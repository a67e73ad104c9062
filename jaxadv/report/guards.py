"""Guards over a run: do its attacks contradict each other, or themselves?

After Carlini et al., On Evaluating Adversarial Robustness, 2019; Pintor et al.,
Indicators of Attack Failure, NeurIPS 2022; the flags of AutoAttack. The pre-flight's
flags (guards.json) come first.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import NamedTuple

from jaxadv.report.folder import Run
from jaxadv.report.suite import OF_ENTRIES, Entry, Finding, find
from jaxadv.report.summary import attacked, group
from jaxadv.report.tables import MISSING, Table

_FALL = 0.005  # of the attacked clips
_OF_VERDICTS = ("judged again", "silent success")
_NONE_DIRECT = "no clip was attacked without a transform in between"


class Guards(NamedTuple):
  """What was found; which guards found nothing; (guard, why) of those that could not
  look."""

  findings: list[Finding]
  passed: list[str]
  untested: list[tuple[str, str]]


def examine(run: Run) -> Guards:
  """All guards, on the rows and the config of a run.

  An attack through a transform aims at success behind it: verdicts without it say
  nothing of the attack.
  """
  listed = run.config.get("attacks") or {}
  aware = {name for name, entry in listed.items() if entry.get("through")}
  direct = [row for row in run.rows if row["attack"] not in aware]
  precise = run.config.get("precision") != "bfloat16"  # else 0.3 is asked for
  strict = {name for name, entry in listed.items() if not precise or _asks_more(entry)}
  entries = [
    Entry(name, listed.get(rows[0]["attack"]) or {}, {r["id"]: r for r in right})
    for name, rows in group(direct).items()
    if (right := attacked(rows))
  ]
  guards = Guards([], [], [])
  _look_at(guards, "victim", _preflight(run), "runtime.guards was off in this run")
  for guard, wrong, said in _OF_ROWS:
    rows = direct if guard in _OF_VERDICTS else run.rows
    found = _each_row(rows, guard, lambda row, w=wrong: w(row, strict), said)
    _look_at(guards, guard, found, _NONE_DIRECT)
  _look_at(guards, "success kept", _kept(direct), _NONE_DIRECT)
  for guard, (look, why) in OF_ENTRIES.items():
    _look_at(guards, guard, look(guard, entries), why)
  if all(row["target"] is None for row in run.rows):
    guards.untested.append(("targeted attacks", "the run has no targets"))
  return guards


def _asks_more(entry: dict) -> bool:
  """Whether an attack calls a failure what the label alone would call a success."""
  return entry.get("confidence", 0) > 0 or (
    entry.get("method") == "carlini_wagner" and entry.get("variant") == "subramanian"
  )


def _look_at(guards, guard, found: Iterable[Finding | None] | None, why):
  """found: a Finding or None (fine) for each look; none: nothing to look at."""
  looks = [] if found is None else list(found)
  raised = [finding for finding in looks if finding]
  guards.findings.extend(raised)
  if not looks:
    guards.untested.append((guard, why))
  elif not raised:
    guards.passed.append(guard)


def _preflight(run: Run) -> Iterator[Finding | None] | None:
  if not run.guards:
    return None
  flags = run.guards["flags"]
  found = [Finding(f["name"], MISSING, f["said"], tuple(f["examples"])) for f in flags]
  return iter(found or [None])


# guard; row, names of the attacks that ask for more than the label -> whether it is
# wrong; what is said of n rows
_Wrong = Callable[[dict, set[str]], bool]
_OF_ROWS: list[tuple[str, _Wrong, str]] = [
  (
    "judged again",
    lambda row, strict: (
      row["clean_correct"]
      and row["success_loop"] is not None
      and row["success_loop"] != row["success"]
      and not (row["success"] and row["attack"] in strict)
    ),
    "the attack and the judgement of the stored file disagree: read the rates that "
    "were judged again, and give confidence > 0 or precision highest",
  ),
  (
    "silent success",
    lambda row, _: bool(row["silent_success"]) and not row["success_loop"],
    "a step was a success and another point was kept: look at the goal",
  ),
  (
    "inside the threat",
    lambda row, _: row["within_threat"] is False,
    "the stored file breaks radius, mask or box: its success does not count",
  ),
  (
    "NaN",
    lambda row, _: bool(row["nan_steps"]),
    "a loss or a gradient was not finite and taken for 0: look for a log or root of 0",
  ),
  (
    "zero gradients",
    lambda row, _: (
      bool(row["zero_gradients"])
      and (not row["success"] or 2 * row["zero_gradients"] >= row["steps"])
    ),
    "the gradient was 0 everywhere: saturated logits or a stopped gradient; attack "
    "with loss dlr or margin, and without gradients",
  ),
]


def _each_row(rows, guard, wrong, said) -> Iterator[Finding | None]:
  for name, some in group(rows).items():
    bad = [row for row in some if wrong(row)]
    yield find(guard, name, bad, said) if bad else None


def _kept(rows) -> Iterator[Finding | None]:
  """Whether an attack's success, judged again, is at most _FALL below the loop's."""
  for name, some in group(rows).items():
    told = [row for row in attacked(some) if row["success_loop"] is not None]
    lost = [row for row in told if row["success_loop"] and not row["success"]]
    fall = sum(row["success_loop"] - row["success"] for row in told)
    points = 100 * fall / max(1, len(told))
    said = (
      f"success falls by {points:.1f} points when judged again, more than "
      f"{100 * _FALL}: {some[0]['precision'] or 'its'} precision told the attack "
      "something else; give precision highest, or confidence > 0"
    )
    if told:
      fell = fall > _FALL * len(told)
      yield find("success kept", name, lost, said) if fell else None


def table(guards: Guards) -> Table:
  """All guards: those that raised a flag first."""
  rows = [
    (f.guard, f.attack, "raised", str(len(f.examples)), f.said) for f in guards.findings
  ]
  rows += [(guard, MISSING, "ok", "0", "") for guard in guards.passed]
  rows += [
    (guard, MISSING, "not tested", MISSING, why) for guard, why in guards.untested
  ]
  caption = "What each guard looks for, and its thresholds: jaxadv/report/guards.py."
  columns = ("Guard", "Attack", "Result", "Examples", "Said")
  return Table(f"Guards: {headline(guards)}", columns, rows, caption)


def flagged(guards: Guards) -> Table:
  """Every example that a guard names: one row each."""
  rows = [(f.guard, f.attack, file) for f in guards.findings for file in f.examples]
  caption = "The examples of each flag above; those of the victim are its clips."
  return Table("Flagged examples", ("Guard", "Attack", "Example"), rows, caption)


def headline(guards: Guards) -> str:
  """ "no flag raised", "1 flag raised"."""
  count = len(guards.findings)
  return f"{count or 'no'} flag{'s' * (count > 1)} raised"


def to_text(guards: Guards) -> str:
  """For the terminal: the flags, and what was not tested."""
  lines = [f"Guards: {headline(guards)}"]
  for finding in guards.findings:
    about = "" if finding.attack == MISSING else f" ({finding.attack})"
    files = f" [{len(finding.examples)}: {', '.join(finding.examples[:3])}"
    more = ", ..." if len(finding.examples) > 3 else ""
    lines.append(f"  {finding.guard}{about}: {finding.said}{files}{more}]")
  lines += [f"  not tested: {guard} ({why})" for guard, why in guards.untested]
  return "\n".join(lines)


def watch(rows: Sequence[dict]) -> Table:
  """What went on in the steps of each attack, over the attacked clips."""

  def some(members, key, reduce, form):
    values = [row[key] for row in members if row[key] is not None]
    return form(reduce(values)) if values else MISSING

  def line(name, members):
    return (
      name,
      some(members, "first_success_step", median, "{:.0f}".format),
      some(members, "nan_steps", sum, str),
      some(members, "zero_gradients", sum, str),
      some(members, "clipped", lambda v: 100 * fmean(v), "{:.2f}".format),
      some(members, "late_drop", lambda v: 100 * median(v), "{:.2f}".format),
      some(members, "within_threat", lambda v: v.count(False), str),
      some(members, "silent_success", sum, str),
    )

  columns = ("Attack", "First success", "NaN steps", "Zero gradients", "Clipped %")
  return Table(
    "In the steps",
    (*columns, "Late fall %", "Outside", "Silent"),
    [line(name, attacked(members)) for name, members in group(rows).items()],
    "First success: median step of the first. Clipped: mean share of the samples at "
    "the box's edge. Late fall: median fall of the loss in the last 10% of the steps. "
    "Outside: stored files that break radius, mask or box. Silent: a step was a "
    "success, the stored file is none.",
  )
