"""What a peer's attack is given, in terms of images in [0, 1]."""
# pyright: reportMissingImports=false

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from peers.torch_victims import Images


class Job(NamedTuple):
  """One attack with one budget on all clips.

  radius: in the norm, of images: half of that of waveforms; inf without a budget.
  settings: our attack's hyper-parameters, defaults included, and what the config's
    `peers` adds to them; lengths are of waveforms.
  """

  model: Images
  images: torch.Tensor  # [B, C, H, W] in [0, 1]
  labels: torch.Tensor  # int64 [B]; the targets, where targeted
  targeted: bool
  classes: int
  norm: str
  radius: float
  settings: Mapping[str, Any]

  def get(self, name: str, otherwise: Any = None) -> Any:
    """A setting; KeyError where it is missing and nothing stands in."""
    return (
      self.settings[name] if otherwise is None else self.settings.get(name, otherwise)
    )

  @property
  def share(self) -> float:
    """Step size over radius: our step_size, or 2.5 / steps (Madry et al., 2018)."""
    return self.settings.get("step_size") or 2.5 / self.settings["steps"]


class Run(NamedTuple):
  """A peer's attack, called `variant` by its own library, as counterpart of ours.

  method: our attack's name, or the `counterpart` that the config's `peers` names.
  """

  method: str
  norm: str
  variant: str
  attack: Callable[[Job], torch.Tensor]  # -> images [B, ...]
  square: bool = False  # it wants images of more than one row
  targeted: bool = True  # it can be told its targets
