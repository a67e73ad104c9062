"""Numbers that the papers print, to stand beside ours; all others come from rows.

P1: Subramanian et al., Adversarial attacks in sound event classification,
arXiv:1907.02477, 2019. 246 clips of FSDKaggle2018 per model, five models; rates are
over all attacked clips. Rates and confidences are fractions.
"""

from collections.abc import Callable, Iterable

# P1's name of a model -> what the name of a folder must hold to be taken for it
MODELS = {
  "VGG13": ("vgg13",),
  "CRNN": ("crnn",),
  "GCNN": ("gcnn",),
  "dense_mel": ("dense", "mel"),
  "dense_wav": ("dense", "wav"),
}
DEEPFOOL, CARLINI_WAGNER = "deepfool", "carlini_wagner"  # a config's `method`
# Table 1: accuracy in training and in test
P1_TABLE_1 = {
  "VGG13": (0.9714, 0.8093),
  "CRNN": (0.9768, 0.8437),
  "GCNN": (0.9803, 0.8437),
  "dense_mel": (0.9876, 0.89875),
  "dense_wav": (0.9698, 0.86125),
}
# Table 2: success, confidence in the new label, in the true one, SNR in dB
P1_TABLE_2 = {
  "white_noise": (0.2114, 0.3709, 0.1581, 20.00),
  "fgsm": (0.3114, 0.3073, 0.0984, 19.99),
  DEEPFOOL: (0.9999, 0.3502, 0.2476, 41.81),
  CARLINI_WAGNER: (0.9951, 0.7103, 0.0189, 46.23),
}
# Tables 3a and 3b: the same, with the clean confidence in the true label second
P1_TABLE_3 = {
  DEEPFOOL: {
    "VGG13": (1.0, 0.6852, 0.2190, 0.1681, 52.47),
    "CRNN": (1.0, 0.7434, 0.2913, 0.2181, 49.40),
    "GCNN": (1.0, 0.7173, 0.2340, 0.1750, 50.97),
    "dense_mel": (0.996, 0.9522, 0.4982, 0.3628, 55.42),
    "dense_wav": (1.0, 0.9426, 0.5180, 0.3148, 41.81),
  },
  CARLINI_WAGNER: {
    "VGG13": (1.0, 0.6852, 0.5876, 0.0208, 52.10),
    "CRNN": (1.0, 0.7434, 0.6026, 0.0213, 50.64),
    "GCNN": (1.0, 0.7173, 0.5908, 0.0207, 51.32),
    "dense_mel": (0.996, 0.9523, 0.9216, 0.0119, 55.67),
    "dense_wav": (0.9797, 0.9426, 0.8932, 0.0199, 45.62),
  },
}
TARGETED_CLASSES = (
  "Bass_drum",
  "Cello",
  "Clarinet",
  "Oboe",
  "Snare_drum",
  "Violin_or_fiddle",
)


def _off_diagonal(names: Iterable[str], *lines: tuple[float, ...]):
  """names x names without the diagonal: name -> name -> number."""
  names = tuple(names)
  return {
    name: dict(zip([n for n in names if n != name], line, strict=True))
    for name, line in zip(names, lines, strict=True)
  }


# Table 4: mean SNR in dB, source class -> target class
P1_TABLE_4 = {
  CARLINI_WAGNER: _off_diagonal(
    TARGETED_CLASSES,
    (109.0, 104.9, 105.9, 102.3, 105.9),
    (105.8, 108.4, 105.9, 107.4, 106.6),
    (108.3, 108.9, 106.5, 109.1, 107.6),
    (100.2, 102.4, 102.3, 100.6, 104.8),
    (93.2, 94.4, 93.0, 95.4, 95.1),
    (97.2, 100.5, 98.8, 101.1, 98.2),
  ),
  "lbfgs": _off_diagonal(
    TARGETED_CLASSES,
    (60.8, 59.7, 59.9, 60.9, 61.7),
    (55.4, 55.8, 54.3, 56.0, 57.0),
    (57.3, 56.7, 57.6, 57.8, 58.1),
    (54.5, 54.8, 55.4, 54.6, 55.4),
    (52.1, 52.2, 50.3, 50.1, 51.7),
    (56.0, 58.6, 57.8, 57.6, 56.7),
  ),
}
# Table 5: model that listens -> model that was attacked -> share of 492 examples,
# DeepFool and Carlini-Wagner pooled
P1_TABLE_5 = _off_diagonal(
  MODELS,
  (0.0569, 0.0996, 0.0102, 0.0305),
  (0.0589, 0.0671, 0.0081, 0.0203),
  (0.0630, 0.0488, 0.0163, 0.0285),
  (0.0020, 0.0041, 0.0041, 0.0061),
  (0.0, 0.0, 0.0, 0.0020),
)


def model_of(name: str) -> str | None:
  """P1's name of the model that a folder's name speaks of: "bundled_vgg13" -> VGG13."""
  found = [
    model
    for model, words in MODELS.items()
    if all(word in name.lower() for word in words)
  ]
  return found[0] if len(found) == 1 else None


def in_order(names: Iterable[str], known: Iterable[str], of: Callable) -> list[str]:
  """The names without repeats, those that a paper knows first and in its order.

  of: a name -> the paper's name for it, or None.
  """
  names, known = list(dict.fromkeys(names)), list(known)
  places = {n: known.index(of(n)) if of(n) in known else len(known) for n in names}
  return sorted(names, key=lambda name: places[name])


# P0: Subramanian, Benetos, Sandler, Robustness of adversarial attacks in sound event
# classification, DCASE 2019. Fractions: still the adversarial label, the true one,
# another. Transforms go by the names that configs/p0_transforms.py gives them.
P0_TRANSFORMS = (
  *("mp3_48", "mp3_128", "mp3_320", "noise_20", "noise_40", "noise_60"),
  *("resample_8", "resample_16", "resample_20", "reverb"),
)
# Table 2: the true label, another one; clean clips
P0_TABLE_2 = {
  "mp3_48": (0.9398, 0.0602),
  "mp3_128": (0.9992, 0.0008),
  "mp3_320": (1.0, 0.0),
  "noise_20": (0.8667, 0.1333),
  "noise_40": (0.9789, 0.0211),
  "noise_60": (0.9984, 0.0016),
  "resample_8": (0.5536, 0.4463),
  "resample_16": (0.8577, 0.1423),
  "resample_20": (0.9187, 0.0813),
  "reverb": (0.8285, 0.1715),
}
# Table 3: over all models and attacks
P0_TABLE_3 = {
  "mp3_48": (0.4502, 0.5023, 0.0475),
  "mp3_128": (0.8366, 0.1571, 0.0063),
  "mp3_320": (0.9155, 0.0826, 0.0017),
  "noise_20": (0.0340, 0.7372, 0.2287),
  "noise_40": (0.3168, 0.6369, 0.0461),
  "noise_60": (0.8100, 0.1758, 0.0141),
  "resample_8": (0.2793, 0.4171, 0.3034),
  "resample_16": (0.4236, 0.4785, 0.0978),
  "resample_20": (0.4790, 0.4489, 0.0720),
  "reverb": (0.0409, 0.6707, 0.2883),
}
# Table 4: the two best defences of each model
P0_TABLE_4 = {
  "dense_mel": {
    "noise_20": (0.0152, 0.9786, 0.0061),
    "noise_40": (0.0625, 0.9297, 0.0076),
  },
  "dense_wav": {
    "resample_20": (0.0146, 0.9755, 0.0097),
    "mp3_48": (0.0158, 0.9718, 0.0122),
  },
  "VGG13": {
    "noise_20": (0.0434, 0.5874, 0.3889),
    "reverb": (0.0505, 0.5769, 0.3725),
  },
  "CRNN": {
    "noise_20": (0.0470, 0.6592, 0.2937),
    "noise_40": (0.2737, 0.6286, 0.0975),
  },
  "GCNN": {
    "noise_40": (0.2781, 0.6431, 0.0786),
    "reverb": (0.0598, 0.5774, 0.3626),
  },
}
# Table 5: the three best of each attack, (method, targeted); its SNR and confidence
P0_TABLE_5 = {
  (DEEPFOOL, False): (
    (50.0, 0.35),
    {
      "noise_20": (0.0414, 0.7723, 0.1861),
      "noise_40": (0.1609, 0.7617, 0.0772),
      "reverb": (0.0422, 0.7037, 0.2504),
    },
  ),
  (CARLINI_WAGNER, False): (
    (51.26, 0.71),
    {
      "noise_20": (0.0588, 0.7483, 0.1928),
      "reverb": (0.0588, 0.7017, 0.2393),
      "noise_40": (0.4379, 0.5098, 0.0522),
    },
  ),
  ("lbfgs", True): (
    (56.25, 0.98),
    {
      "noise_20": (0.0040, 0.6956, 0.3002),
      "noise_40": (0.3233, 0.6644, 0.0122),
      "reverb": (0.0163, 0.6277, 0.3559),
    },
  ),
  (CARLINI_WAGNER, True): (
    (50.49, 0.97),
    {
      "noise_20": (0.0131, 0.7060, 0.2807),
      "noise_40": (0.3632, 0.6152, 0.0215),
      "reverb": (0.0346, 0.6093, 0.3560),
    },
  ),
}
