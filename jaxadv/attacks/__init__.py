"""Attacks: one method a file, a lower-case factory each, one line here."""

from jaxadv.attacks.carlini_wagner import carlini_wagner
from jaxadv.attacks.deepfool import deepfool
from jaxadv.attacks.fgsm import fgsm
from jaxadv.attacks.pgd import pgd
from jaxadv.attacks.white_noise import white_noise

ATTACKS = {
  "white_noise": white_noise,
  "fgsm": fgsm,
  "pgd": pgd,
  "deepfool": deepfool,
  "carlini_wagner": carlini_wagner,
}

__all__ = ["ATTACKS", "carlini_wagner", "deepfool", "fgsm", "pgd", "white_noise"]
