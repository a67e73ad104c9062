"""Rows -> one entry of numbers per attack: what every table prints."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median


def group(rows: Iterable[dict]) -> dict[str, list[dict]]:
  """Rows by attack, in row order. An attack with and without targets is two groups.

  The key is the name that tables and figures print: "pgd", "pgd (targeted)". A run's
  folder holds one model (rows are unique per attack and id), so it is not a key.
  """
  groups: dict[str, list[dict]] = {}
  for row in rows:
    groups.setdefault(name(row), []).append(row)
  return groups


def name(row: dict) -> str:
  """How the row's attack is printed."""
  return row["attack"] if row["target"] is None else f"{row['attack']} (targeted)"


def attacked(rows: Iterable[dict]) -> list[dict]:
  """The rows an attack can be credited with: the clean clip was classified right."""
  return [row for row in rows if row["clean_correct"]]


def successes(rows: Iterable[dict]) -> list[dict]:
  """The attacked rows whose stored example, judged again, fools the model."""
  return [row for row in attacked(rows) if row["success"]]


def judgements_differ(row: dict) -> bool:
  """Whether the loop, the second judgement and the 16-bit one do not all agree."""
  verdicts = (row["success_loop"], row["success"], row["success_pcm16"])
  return len({verdict for verdict in verdicts if verdict is not None}) > 1


def summarise(rows: Iterable[dict]) -> list[dict]:
  """One dict per (attack, targeted?), in row order.

  Rates are fractions of `n_attacked`, the rows whose clean clip was classified right;
  confidences and SNRs are over the successes (P1 Tables 2 and 3), SNRs over those with
  a finite one. What cannot be computed (no attacked row, no success) is None. The time
  is over all rows, because all of them were paid for.
  """
  return [_entry(printed, members) for printed, members in group(rows).items()]


def _entry(printed: str, rows: Sequence[dict]) -> dict:
  tried, fooled = attacked(rows), successes(rows)
  snr_db = _numbers(fooled, "snr_db")
  return {
    "attack": rows[0]["attack"],
    "targeted": rows[0]["target"] is not None,
    "name": printed,
    "model": rows[0]["model"],
    "n": len(rows),
    "n_clean_wrong": len(rows) - len(tried),
    "n_attacked": len(tried),
    "n_success": len(fooled),
    "n_finite_snr": len(snr_db),
    "success_rate": _rate(tried, "success"),
    "success_rate_loop": _rate(tried, "success_loop"),
    "success_rate_pcm16": _rate(tried, "success_pcm16"),
    "disagree_loop": _disagreements(tried, "success_loop"),
    "disagree_pcm16": _disagreements(tried, "success_pcm16"),
    "median_snr_db": _or_none(median, snr_db),
    "mean_snr_db": _or_none(fmean, snr_db),
    "gt_conf": _mean(fooled, "gt_conf"),
    "new_conf": _mean(fooled, "new_conf"),
    "gt_new_conf": _mean(fooled, "gt_new_conf"),
    "mean_steps": _mean(tried, "steps"),
    "mean_forward_passes": _mean(tried, "forward_passes"),
    "mean_backward_passes": _mean(tried, "backward_passes"),
    "total_seconds": _or_none(math.fsum, _numbers(rows, "seconds")),
  }


def _numbers(rows: Iterable[dict], field: str) -> list[float]:
  values = (row[field] for row in rows)
  return [float(v) for v in values if v is not None and math.isfinite(v)]


def _or_none(reduce: Callable, values: Sequence) -> float | None:
  return float(reduce(values)) if values else None


def _mean(rows: Iterable[dict], field: str) -> float | None:
  return _or_none(fmean, _numbers(rows, field))


def _rate(rows: Iterable[dict], field: str) -> float | None:
  # a verdict that was never given (null) is neither a success nor a failure
  return _or_none(fmean, [float(r[field]) for r in rows if r[field] is not None])


def _disagreements(rows: Iterable[dict], field: str) -> int:
  return sum(
    row[field] != row["success"]
    for row in rows
    if row[field] is not None and row["success"] is not None
  )
