"""Attacks: one method a file, a lower-case factory each, one line here; and the lifts
`repeat` and `survey`."""

from jaxadv.attacks.apgd import apgd
from jaxadv.attacks.apgd_targeted import apgd_targeted
from jaxadv.attacks.bim import bim
from jaxadv.attacks.carlini_wagner import carlini_wagner
from jaxadv.attacks.carlini_wagner_l0 import carlini_wagner_l0
from jaxadv.attacks.carlini_wagner_linf import carlini_wagner_linf
from jaxadv.attacks.ddn import ddn
from jaxadv.attacks.deepfool import deepfool
from jaxadv.attacks.fab import fab
from jaxadv.attacks.fgsm import fgsm
from jaxadv.attacks.fmn import fmn
from jaxadv.attacks.jsma import jsma
from jaxadv.attacks.lbfgs import lbfgs
from jaxadv.attacks.nes import nes
from jaxadv.attacks.partial_information import partial_information
from jaxadv.attacks.pgd import pgd
from jaxadv.attacks.repeat import repeat
from jaxadv.attacks.square import square
from jaxadv.attacks.survey import survey
from jaxadv.attacks.white_noise import white_noise

ATTACKS = {
  "white_noise": white_noise,
  "fgsm": fgsm,
  "bim": bim,
  "pgd": pgd,
  "apgd": apgd,
  "apgd_targeted": apgd_targeted,
  "deepfool": deepfool,
  "fab": fab,
  "carlini_wagner": carlini_wagner,
  "carlini_wagner_linf": carlini_wagner_linf,
  "carlini_wagner_l0": carlini_wagner_l0,
  "ddn": ddn,
  "fmn": fmn,
  "lbfgs": lbfgs,
  "jsma": jsma,
  "nes": nes,
  "square": square,
  "partial_information": partial_information,
}

__all__ = [
  "ATTACKS",
  "apgd",
  "apgd_targeted",
  "bim",
  "carlini_wagner",
  "carlini_wagner_l0",
  "carlini_wagner_linf",
  "ddn",
  "deepfool",
  "fab",
  "fgsm",
  "fmn",
  "jsma",
  "lbfgs",
  "nes",
  "partial_information",
  "pgd",
  "repeat",
  "square",
  "survey",
  "white_noise",
]
