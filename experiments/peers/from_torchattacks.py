"""Attacks of torchattacks 3.5.1."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import torch
import torchattacks

from peers.job import Job, Run

PACKAGE = "torchattacks"
NORMS = {"l1": "L1", "l2": "L2", "linf": "Linf"}


def _run(factory, make: Callable[[Job], dict[str, Any]]) -> Callable[[Job], Any]:
  def attack(job: Job):
    made = factory(job.model, **make(job))
    if job.targeted:
      made.set_mode_targeted_by_label(quiet=True)
    return made(job.images, job.labels)

  return attack


def _steps(job):
  return {
    "eps": job.radius,
    "alpha": job.share * job.radius,
    "steps": job.get("steps"),
  }


def _pgd(job):
  return _steps(job) | {"random_start": True}


def _mim(job):
  return _steps(job) | {"decay": job.get("decay")}


def _apgd(loss):
  def make(job):
    return _ball(job) | {"steps": job.get("steps"), "loss": loss}

  return _run(torchattacks.APGD, make)


def _ball(job):
  return {"norm": NORMS[job.norm], "eps": job.radius}


def _apgd_targeted(job):
  return _ball(job) | {"steps": job.get("steps"), "n_classes": job.get("targets") + 1}


def _fab(job):
  # without a budget, one that any perturbation fits in
  eps = min(job.radius, float(job.images[0].numel()))
  more = {"steps": job.get("iterations"), "n_classes": job.classes}
  return {"norm": NORMS[job.norm], "eps": eps} | more


def _square(job):
  return _ball(job) | {
    "n_queries": job.get("queries"),
    "p_init": job.get("p_init", 0.8),
  }


def _deepfool(job):
  return {"steps": job.get("steps"), "overshoot": job.get("overshoot")}


def _carlini_wagner(job):
  # it searches for no c: all steps with its default
  steps = job.get("search_steps") * job.get("iterations")
  return {"steps": steps, "lr": job.get("learning_rate")}


class _Positive(torch.nn.Module):
  """Logits + 50: CW leaves a class out by multiplying its logit with 0, which does
  nothing where all are negative, as logs of probabilities are."""

  def __init__(self, model):
    super().__init__()
    self._model = model

  def forward(self, images):
    return self._model(images) + 50


def _cw(job):
  return _run(torchattacks.CW, _carlini_wagner)(
    job._replace(model=_Positive(job.model))
  )


def _jsma(job):
  size = job.images[0].numel()
  gib = 4 * size**2 / 2**30
  if gib > 4:
    raise MemoryError(f"its table of all pairs of {size} values takes {gib:.0f} GiB")
  return {"theta": job.get("theta"), "gamma": job.get("gamma", 0.1)}


def _spsa(job):
  # its defaults as shares of its default eps of 0.3: they are made for images
  share = job.radius / 0.3
  return {
    "eps": job.radius,
    "delta": 0.01 * share,
    "lr": 0.01 * share,
    "nb_iter": job.get("queries") // job.get("samples"),
    "nb_sample": job.get("samples") // 2,  # pairs
  }


def _autoattack(job):
  return _ball(job) | {"n_classes": job.classes}


def _noise(job):
  # its size scatters by 0.3% around what the deviation says
  return {"std": 0.99 * job.radius / job.images[0].numel() ** 0.5}


RUNS = [
  Run("white_noise", "l2", "GN", _run(torchattacks.GN, _noise), targeted=False),
  Run("fgsm", "linf", "FGSM", _run(torchattacks.FGSM, lambda job: {"eps": job.radius})),
  Run("bim", "linf", "BIM", _run(torchattacks.BIM, _steps)),
  Run("pgd", "linf", "PGD", _run(torchattacks.PGD, _pgd)),
  Run("pgd", "l2", "PGDL2", _run(torchattacks.PGDL2, _pgd)),
  Run("mim", "linf", "MIFGSM", _run(torchattacks.MIFGSM, _mim)),
  *(
    Run(method, norm, f"APGD {loss}", _apgd(loss), targeted=False)
    for norm in ("linf", "l2")
    for method, loss in {"apgd": "ce", "apgd_dlr": "dlr"}.items()
  ),
  *(
    Run(
      "apgd_targeted",
      norm,
      "APGDT",
      _run(torchattacks.APGDT, _apgd_targeted),
      targeted=False,
    )
    for norm in ("linf", "l2")
  ),
  *(Run("fab", norm, "FAB", _run(torchattacks.FAB, _fab)) for norm in NORMS),
  *(
    Run("square", norm, "Square", _run(torchattacks.Square, _square), square=True)
    for norm in ("linf", "l2")
  ),
  Run(
    "deepfool",
    "l2",
    "DeepFool",
    _run(torchattacks.DeepFool, _deepfool),
    targeted=False,
  ),
  Run("carlini_wagner", "l2", "CW", _cw),
  Run("jsma", "l0", "JSMA", _run(torchattacks.JSMA, _jsma)),
  Run("nes", "linf", "SPSA", _run(torchattacks.SPSA, _spsa)),
  *(
    Run(
      "autoattack",
      norm,
      "AutoAttack",
      _run(torchattacks.AutoAttack, _autoattack),
      square=True,
      targeted=False,
    )
    for norm in ("linf", "l2")
  ),
]
