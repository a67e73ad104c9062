"""Attacks of Foolbox 3.3.4."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import foolbox
from foolbox import attacks

from peers.job import Job, Run

PACKAGE = "foolbox"


def _run(make: Callable[[Job], Any]) -> Callable[[Job], Any]:
  def attack(job: Job):
    model = foolbox.PyTorchModel(job.model, bounds=(0, 1))
    made, criterion = make(job), foolbox.Misclassification(job.labels)
    if job.targeted:
      criterion = foolbox.TargetedMisclassification(job.labels)
    if isinstance(made, foolbox.attacks.base.MinimizationAttack):
      return made.run(model, job.images, criterion)
    return made.run(model, job.images, criterion, epsilon=job.radius)

  return attack


def _iterated(factory, **more):
  def make(job):
    return factory(rel_stepsize=job.share, steps=job.get("steps"), **more)

  return _run(make)


def _deepfool(factory):
  return _run(
    lambda job: factory(
      steps=job.get("steps"),
      candidates=job.get("classes"),
      overshoot=job.get("overshoot"),
    )
  )


def _carlini_wagner(job):
  return attacks.L2CarliniWagnerAttack(
    binary_search_steps=job.get("search_steps"),
    steps=job.get("iterations"),
    stepsize=job.get("learning_rate"),
    initial_const=job.get("c") / 4,  # squared distances are a quarter of ours
    abort_early=job.get("abort_early"),
  )


def _ddn(job):
  return attacks.DDNAttack(
    steps=job.get("steps"), init_epsilon=job.get("init_norm", 2.0) / 2
  )


def _fmn(factory):
  return _run(
    lambda job: factory(
      steps=job.get("steps"),
      max_stepsize=job.get("alpha", 2.0) / 2,
      gamma=job.get("gamma") or 0.05,  # ours is 0 where the norm decides
    )
  )


RUNS = [
  *(
    Run("white_noise", norm, name, _run(lambda job, make=make: make()), targeted=False)
    for norm, name, make in (
      ("l2", "L2AdditiveGaussianNoise", attacks.L2AdditiveGaussianNoiseAttack),
      ("linf", "LinfAdditiveUniformNoise", attacks.LinfAdditiveUniformNoiseAttack),
    )
  ),
  Run("fgsm", "linf", "FGSM", _run(lambda job: attacks.FGSM()), targeted=False),
  *(
    Run("bim", norm, factory.__name__, _iterated(factory, random_start=False))
    for norm, factory in {
      "linf": attacks.LinfBasicIterativeAttack,
      "l2": attacks.L2BasicIterativeAttack,
      "l1": attacks.L1BasicIterativeAttack,
    }.items()
  ),
  *(
    Run("pgd", norm, name, _iterated(getattr(attacks, name), random_start=True))
    for norm, name in {"linf": "LinfPGD", "l2": "L2PGD", "l1": "L1PGD"}.items()
  ),
  Run("pgd", "l1", "SparseL1Descent", _iterated(attacks.SparseL1DescentAttack)),
  *(
    Run("pgd_adam", norm, name, _iterated(getattr(attacks, name), random_start=True))
    for norm, name in {
      "linf": "LinfAdamPGD",
      "l2": "L2AdamPGD",
      "l1": "L1AdamPGD",
    }.items()
  ),
  *(
    Run("mim", norm, f"{norm} MIFGSM", _iterated(factory))
    for norm, factory in {
      "linf": attacks.LinfMomentumIterativeFastGradientMethod,
      "l2": attacks.L2MomentumIterativeFastGradientMethod,
      "l1": attacks.L1MomentumIterativeFastGradientMethod,
    }.items()
  ),
  *(
    Run(
      "deepfool",
      norm,
      name,
      _deepfool(getattr(attacks, f"{name}Attack")),
      targeted=False,
    )
    for norm, name in {"l2": "L2DeepFool", "linf": "LinfDeepFool"}.items()
  ),
  Run("carlini_wagner", "l2", "L2CarliniWagner", _run(_carlini_wagner)),
  Run("ddn", "l2", "DDN", _run(_ddn)),
  *(
    Run("fmn", norm, factory.__name__, _fmn(factory))
    for norm, factory in {
      "l0": attacks.L0FMNAttack,
      "l1": attacks.L1FMNAttack,
      "l2": attacks.L2FMNAttack,
      "linf": attacks.LInfFMNAttack,
    }.items()
  ),
]
