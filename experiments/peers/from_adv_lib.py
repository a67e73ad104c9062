"""Attacks of adv-lib 0.2.8.

Its attacks never call torchvision or visdom, which it imports: empty modules stand in.
"""
# pyright: reportMissingImports=false

import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from peers.job import Job, Run

_ABSENT = [n for n in ("torchvision", "visdom") if importlib.util.find_spec(n) is None]
for _name in _ABSENT:
  sys.modules[_name] = types.ModuleType(_name)
  vars(sys.modules[_name])["models"] = None
try:
  from adv_lib import attacks
finally:
  for _name in _ABSENT:  # for others they are still missing
    del sys.modules[_name]

PACKAGE = "adv-lib"
NORMS = {"l0": 0, "l1": 1, "l2": 2, "linf": float("inf")}


def _run(function, make: Callable[[Job], dict[str, Any]]) -> Callable[[Job], Any]:
  def attack(job: Job):
    more = {"targeted": True} if job.targeted else {}
    return function(job.model, job.images, job.labels, **make(job), **more)

  return attack


def _pgd(random_init):
  def make(job):
    more = {"random_init": random_init, "relative_step_size": job.share}
    return {"ε": job.radius, "steps": job.get("steps")} | more

  return _run(attacks.pgd_linf, make)


def _ball(job):
  return {"norm": NORMS[job.norm], "eps": job.radius, "n_iter": job.get("steps")}


def _apgd(loss):
  def make(job):
    # the authors' settings in l1: three phases of growing sparsity
    return _ball(job) | {"loss_function": loss, "use_large_reps": job.norm == "l1"}

  return _run(attacks.apgd, make)


def _apgd_targeted(job):
  more = {"num_targets": job.get("targets"), "use_large_reps": job.norm == "l1"}
  return _ball(job) | more


def _deepfool(job):
  more = {"overshoot": job.get("overshoot"), "norm": NORMS[job.norm]}
  return {"steps": job.get("steps")} | more


def _carlini_wagner(job):
  return {
    "learning_rate": job.get("learning_rate"),
    "binary_search_steps": job.get("search_steps"),
    "max_iterations": job.get("iterations"),
    "initial_const": job.get("c") / 4,  # squared distances are a quarter of ours
    "abort_early": job.get("abort_early"),
  }


def _carlini_wagner_linf(job):
  iterations, rate = job.get("iterations"), job.get("learning_rate")
  return {"learning_rate": rate, "max_iterations": iterations}


def _ddn(job):
  # not rounded to 8 bits
  more = {"init_norm": job.get("init_norm", 2.0) / 2, "levels": None}
  return {"steps": job.get("steps")} | more


def _fmn(job):
  more = {"norm": NORMS[job.norm], "α_init": job.get("alpha", 2.0) / 2}
  # ours is 0 where the norm decides
  return {"steps": job.get("steps"), "γ_init": job.get("gamma") or 0.05} | more


def _fab(job):
  return {"n_iter": job.get("iterations"), "norm": NORMS[job.norm]}


RUNS = [
  Run("bim", "linf", "pgd_linf, no start", _pgd(False)),
  Run("pgd", "linf", "pgd_linf", _pgd(True)),
  *(
    Run(method, norm, f"apgd {loss}", _apgd(loss))
    for norm in ("l1", "l2", "linf")
    for method, loss in {"apgd": "ce", "apgd_dlr": "dlr"}.items()
  ),
  *(
    Run(
      "apgd_targeted",
      norm,
      "apgd_targeted",
      _run(attacks.apgd_targeted, _apgd_targeted),
      targeted=False,
    )
    for norm in ("l1", "l2", "linf")
  ),
  *(
    Run("deepfool", norm, "df", _run(attacks.df, _deepfool), targeted=False)
    for norm in ("l2", "linf")
  ),
  Run(
    "carlini_wagner",
    "l2",
    "carlini_wagner_l2",
    _run(attacks.carlini_wagner_l2, _carlini_wagner),
  ),
  Run(
    "carlini_wagner_linf",
    "linf",
    "carlini_wagner_linf",
    _run(attacks.carlini_wagner_linf, _carlini_wagner_linf),
  ),
  Run("ddn", "l2", "ddn", _run(attacks.ddn, _ddn)),
  *(Run("fmn", norm, "fmn", _run(attacks.fmn, _fmn)) for norm in NORMS),
  *(
    Run("fab", norm, "fab", _run(attacks.fab, _fab), targeted=False)
    for norm in ("l1", "l2", "linf")
  ),
]
