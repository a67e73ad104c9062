"""Attacks of the Adversarial Robustness Toolbox 1.20.1.

Batches of all clips: its default of one at a time in some attacks is no method.
"""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier

from peers.job import Job, Run

PACKAGE = "adversarial-robustness-toolbox"
NORMS = {"l1": 1, "l2": 2, "linf": np.inf}


def _run(
  factory, make: Callable[[Job], dict[str, Any]], untargeted: bool = True
) -> Callable[[Job], Any]:
  """untargeted: it leaves the labels it is given; else they would be its targets, and
  left out it draws some."""

  def attack(job: Job):
    classifier = PyTorchClassifier(
      job.model,
      torch.nn.CrossEntropyLoss(),
      tuple(job.images.shape[1:]),
      job.classes,
      clip_values=(0.0, 1.0),
      device_type="cpu",
    )
    more = {"targeted": True} if job.targeted and untargeted else {}
    made = factory(classifier, **make(job), **more, batch_size=len(job.images))
    labels = np.eye(job.classes, dtype=np.float32)[job.labels.numpy()]
    given = (labels,) if untargeted or job.targeted else ()
    return torch.tensor(made.generate(job.images.numpy(), *given))

  return attack


def _ball(job):
  return {"norm": NORMS[job.norm], "eps": job.radius}


def _fgsm(job):
  return _ball(job) | {"eps_step": job.radius}


def _steps(job):
  return {
    "eps_step": job.share * job.radius,
    "max_iter": job.get("steps"),
    "verbose": False,
  }


def _bim(job):
  return _ball(job) | _steps(job)


def _pgd(job):
  return _bim(job) | {"num_random_init": 1}


def _mim(job):
  return _bim(job) | {"decay": job.get("decay")}


def _apgd(loss):
  def make(job):
    # its first step is eps_step; the authors' is twice the radius
    more = {"eps_step": 2 * job.radius, "max_iter": job.get("steps"), "verbose": False}
    return _ball(job) | more | {"nb_random_init": 1, "loss_type": loss}

  return _run(evasion.AutoProjectedGradientDescent, make)


def _square(job):
  more = {
    "max_iter": job.get("queries"),
    "p_init": job.get("p_init", 0.8),
    "verbose": False,
  }
  return _ball(job) | more


def _deepfool(job):
  return {
    "max_iter": job.get("steps"),
    "epsilon": job.get("overshoot"),
    "nb_grads": job.get("classes"),
    "verbose": False,
  }


def _carlini_wagner(job):
  return {
    "learning_rate": job.get("learning_rate"),
    "binary_search_steps": job.get("search_steps"),
    "max_iter": job.get("iterations"),
    "initial_const": job.get("c") / 4,  # squared distances are a quarter of ours
    "verbose": False,
  }


def _carlini_wagner_linf(job):
  more = {"max_iter": job.get("iterations"), "verbose": False}
  return {"learning_rate": job.get("learning_rate")} | more


def _jsma(job):
  return {
    "theta": job.get("theta"),
    "gamma": job.get("gamma", 1.0),
    "verbose": False,
  }


def _autoattack(job):
  return _ball(job) | {"eps_step": 2 * job.radius}


RUNS = [
  Run("fgsm", "linf", "FastGradientMethod", _run(evasion.FastGradientMethod, _fgsm)),
  *(
    Run("bim", norm, "PGD, no start", _run(evasion.ProjectedGradientDescent, _bim))
    for norm in NORMS
  ),
  *(
    Run("pgd", norm, "PGD", _run(evasion.ProjectedGradientDescent, _pgd))
    for norm in NORMS
  ),
  *(
    Run("mim", norm, "MomentumIterative", _run(evasion.MomentumIterativeMethod, _mim))
    for norm in ("linf", "l2")
  ),
  *(
    Run(method, norm, f"AutoPGD {loss}", _apgd(loss))
    for norm in NORMS
    for method, loss in {
      "apgd": "cross_entropy",
      "apgd_dlr": "difference_logits_ratio",
    }.items()
  ),
  *(
    Run(
      "square",
      norm,
      "Square",
      _run(evasion.SquareAttack, _square),
      square=True,
      targeted=False,
    )
    for norm in ("linf", "l2")
  ),
  Run("deepfool", "l2", "DeepFool", _run(evasion.DeepFool, _deepfool), targeted=False),
  Run(
    "carlini_wagner", "l2", "CarliniL2", _run(evasion.CarliniL2Method, _carlini_wagner)
  ),
  Run(
    "carlini_wagner_linf",
    "linf",
    "CarliniLInf",
    _run(evasion.CarliniLInfMethod, _carlini_wagner_linf),
  ),
  Run(
    "carlini_wagner_l0",
    "l0",
    "CarliniL0",
    _run(evasion.CarliniL0Method, _carlini_wagner),
  ),
  Run(
    "jsma",
    "l0",
    "SaliencyMap",
    _run(evasion.SaliencyMapMethod, _jsma, untargeted=False),
  ),
  *(
    Run(
      "autoattack",
      norm,
      "AutoAttack",
      _run(evasion.AutoAttack, _autoattack),
      square=True,
      targeted=False,
    )
    for norm in ("linf", "l2")
  ),
]
