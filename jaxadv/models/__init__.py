"""Victims: Flax modules from waveform to logits; one line here for each network."""

from jaxadv.models.classifier import Classifier
from jaxadv.models.dense import DenseMel, DenseSpectral, DenseWav
from jaxadv.models.frontends import FRONTENDS, WAVEFORMS
from jaxadv.models.gcnn import GCNN
from jaxadv.models.vgg import CRNN, VGG13

MODELS = {
  "vgg13": VGG13,
  "crnn": CRNN,
  "gcnn": GCNN,
  "dense_mel": DenseMel,
  "dense_wav": DenseWav,
  "dense_spectral": DenseSpectral,
}

__all__ = [
  "CRNN",
  "FRONTENDS",
  "GCNN",
  "MODELS",
  "VGG13",
  "WAVEFORMS",
  "Classifier",
  "DenseMel",
  "DenseSpectral",
  "DenseWav",
]
