"""What may happen to a recording on its way to the victim: numpy stage, no jax.

The differentiable twins are in `jaxadv.transforms.twins`.
"""

from jaxadv.transforms.codecs import aac, mp3, opus, vorbis
from jaxadv.transforms.custom import user
from jaxadv.transforms.filters import (
  band_pass,
  low_pass,
  median,
  phone_band,
  resample,
  smooth,
)
from jaxadv.transforms.levels import bit_depth, flood, gain, noise
from jaxadv.transforms.many import Transformed, transform_all
from jaxadv.transforms.room import great_hall, reverberate
from jaxadv.transforms.timing import pitch_shift, time_shift, time_stretch, trim
from jaxadv.transforms.transform import SAMPLE_RATE_HZ, Transform, chain, rng_of

TRANSFORMS = {
  "mp3": mp3,
  "aac": aac,
  "opus": opus,
  "vorbis": vorbis,
  "resample": resample,
  "low_pass": low_pass,
  "band_pass": band_pass,
  "phone_band": phone_band,
  "smooth": smooth,
  "median": median,
  "noise": noise,
  "flood": flood,
  "gain": gain,
  "bit_depth": bit_depth,
  "reverberate": reverberate,
  "time_shift": time_shift,
  "time_stretch": time_stretch,
  "pitch_shift": pitch_shift,
  "trim": trim,
  "user": user,
}

__all__ = [
  "SAMPLE_RATE_HZ",
  "TRANSFORMS",
  "Transform",
  "Transformed",
  "aac",
  "band_pass",
  "bit_depth",
  "chain",
  "flood",
  "gain",
  "great_hall",
  "low_pass",
  "median",
  "mp3",
  "noise",
  "opus",
  "phone_band",
  "pitch_shift",
  "resample",
  "reverberate",
  "rng_of",
  "smooth",
  "time_shift",
  "time_stretch",
  "transform_all",
  "trim",
  "user",
  "vorbis",
]
