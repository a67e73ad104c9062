"""Attacks of CleverHans 4.0.0, in torch."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import numpy as np
from cleverhans.torch.attacks.carlini_wagner_l2 import carlini_wagner_l2
from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.torch.attacks.noise import noise
from cleverhans.torch.attacks.projected_gradient_descent import (
  projected_gradient_descent,
)
from cleverhans.torch.attacks.sparse_l1_descent import sparse_l1_descent
from cleverhans.torch.attacks.spsa import spsa

from peers.job import Job, Run

PACKAGE = "cleverhans"
NORMS = {"l2": 2, "linf": np.inf}


def _run(function, make: Callable[[Job], dict[str, Any]]) -> Callable[[Job], Any]:
  def attack(job: Job):
    given = {"y": job.labels, "targeted": job.targeted, **make(job)}
    given |= {"clip_min": 0.0, "clip_max": 1.0}
    return function(job.model, job.images, **given).detach()

  return attack


def _fgsm(job):
  return {"eps": job.radius, "norm": NORMS[job.norm]}


def _pgd(random_start):
  def make(job):
    more = {"nb_iter": job.get("steps"), "rand_init": random_start}
    return _fgsm(job) | {"eps_iter": job.share * job.radius} | more

  return _run(projected_gradient_descent, make)


def _sparse(job):
  more = {"nb_iter": job.get("steps"), "rand_init": True}
  return {"eps": job.radius, "eps_iter": job.share * job.radius} | more


def _carlini_wagner(job):
  return {
    "n_classes": job.classes,
    "lr": job.get("learning_rate"),
    "initial_const": job.get("c") / 4,  # squared distances are a quarter of ours
    "binary_search_steps": job.get("search_steps"),
    "max_iterations": job.get("iterations"),
  }


def _spsa(job):
  # torchattacks' defaults as shares of its default eps of 0.3: both are for images
  step = 0.01 * job.radius / 0.3
  asked, pairs = job.get("queries"), job.get("samples") // 2
  budget = {"nb_iter": asked // (2 * pairs), "spsa_samples": pairs}
  return _fgsm(job) | {"delta": step, "learning_rate": step} | budget


def _noise(job):
  more = {"clip_min": 0.0, "clip_max": 1.0}
  return noise(job.images, eps=job.radius, **more)


RUNS = [
  Run("white_noise", "linf", "noise", _noise, targeted=False),
  Run("fgsm", "linf", "fast_gradient_method", _run(fast_gradient_method, _fgsm)),
  *(Run("bim", norm, "PGD, no start", _pgd(False)) for norm in NORMS),
  *(Run("pgd", norm, "PGD", _pgd(True)) for norm in NORMS),
  Run("pgd", "l1", "sparse_l1_descent", _run(sparse_l1_descent, _sparse)),
  Run(
    "carlini_wagner",
    "l2",
    "carlini_wagner_l2",
    _run(carlini_wagner_l2, _carlini_wagner),
  ),
  *(Run("nes", norm, "SPSA", _run(spsa, _spsa)) for norm in NORMS),
]
