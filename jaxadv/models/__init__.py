"""Victims: Flax modules from waveform to logits; one line here for each network."""

from jaxadv.models.classifier import Classifier
from jaxadv.models.frontends import FRONTENDS
from jaxadv.models.gcnn import GCNN
from jaxadv.models.vgg import VGG13

MODELS = {"vgg13": VGG13, "gcnn": GCNN}

__all__ = ["FRONTENDS", "GCNN", "MODELS", "VGG13", "Classifier"]
