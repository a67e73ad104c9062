"""Every attack as the contract tests try it: give a new one a Row."""

from typing import Any, NamedTuple

from jaxadv import core, problem
from jaxadv.attacks import ATTACKS
from jaxadv.norms import NORMS

BOX = (-1.0, 1.0)
INF = float("inf")


class Row(NamedTuple):
  """One attack as the table tries it. goal "": the attack's own."""

  method: str
  norm: str
  radius: float
  hyper: dict[str, Any]
  goal: str = ""
  random: bool = False

  @property
  def attack(self) -> core.Attack:
    return ATTACKS[self.method](**self.hyper)

  @property
  def goal_name(self) -> str:
    names = {id(goal): name for name, goal in core.GOALS.items()}
    return self.goal or names[id(self.attack.goal)]

  @property
  def threat(self) -> problem.Threat:
    return problem.Threat(NORMS[self.norm], self.radius, box=BOX)


# radii and step sizes so large that box, mask and ball all bind and losses go up again
TABLE = (
  Row("white_noise", "l2", 1.5, {}, random=True),
  Row("fgsm", "linf", 0.4, {}),
  Row("pgd", "linf", 0.3, {"steps": 5}, random=True),
  Row("pgd", "l2", 0.8, {"steps": 5, "step_size": 0.8}, "strongest", random=True),
  Row("pgd", "l1", 1.5, {"steps": 5, "step_size": 0.7}, "smallest", random=True),
  Row("deepfool", "l2", 0.7, {"steps": 6}),
  Row(
    "carlini_wagner",
    "l2",
    INF,
    {"search_steps": 3, "iterations": 6, "learning_rate": 0.2, "c": 0.3},
  ),
  Row(
    "carlini_wagner",
    "l2",
    0.5,
    {"search_steps": 2, "iterations": 6, "learning_rate": 0.2, "c": 3.0},
  ),
)
# one of each attack, for the rules in which norm and radius play no part
ONE_EACH = tuple({row.method: row for row in reversed(TABLE)}.values())
