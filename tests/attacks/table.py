"""Every attack as the contract tests try it: give a new one a Row."""

from typing import Any, NamedTuple

from jaxadv import core, problem
from jaxadv.attacks import ATTACKS
from jaxadv.norms import NORMS

BOX = (-1.0, 0.75)
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
  Row("apgd", "linf", 0.3, {"steps": 6, "restarts": 2}, "strongest", random=True),
  Row("apgd", "l2", 0.8, {"steps": 6}, "smallest", random=True),
  Row("apgd", "l1", 1.5, {"steps": 10, "shrink": True}, random=True),
  # where all points are alike the clean clip stays, so this one is not random
  Row("apgd_targeted", "linf", 0.3, {"steps": 3, "targets": 2}),
  Row("apgd_targeted", "l1", 1.5, {"steps": 4, "targets": 3}, "strongest"),
  Row("deepfool", "l2", 0.7, {"steps": 6}),
  Row("ddn", "l2", INF, {"steps": 8, "init_norm": 2.0, "gamma": 0.3}),
  Row("ddn", "l2", 0.8, {"steps": 8, "relative": False}, "strongest"),
  Row("fmn", "l0", 5.0, {"steps": 8}),
  Row("fmn", "l1", INF, {"steps": 8, "gamma": 0.3}),
  Row("fmn", "l2", 0.8, {"steps": 8, "relative": False}),
  Row("fmn", "linf", 0.3, {"steps": 8}, "strongest"),
  Row("fab", "l2", INF, {"iterations": 4, "restarts": 2, "final_search": 2}),
  Row("fab", "linf", 0.3, {"iterations": 5, "targets": 2}, "first_success"),
  Row("deepfool", "linf", 0.5, {"variant": "subramanian", "steps": 6}),
  Row("bim", "linf", 0.3, {"steps": 5, "stop_early": True}),
  Row("bim", "l2", 0.8, {"steps": 4, "step_size": 0.2, "unit": "range"}),
  Row("bim", "linf", INF, {"steps": 3, "search_steps": 4, "epsilon": 0.02}),
  Row("bim", "l1", 1.5, {"steps": 3, "step_size": 0.7, "search_steps": 3}),
  Row("square", "linf", 0.3, {"steps": 8}, random=True),
  Row("square", "l2", 0.8, {"steps": 8, "p_init": 0.8}, "strongest", random=True),
  Row("square", "l1", 1.5, {"steps": 8}, "smallest", random=True),
  # no random numbers count where all scores are equal
  Row("nes", "linf", 0.3, {"queries": 55, "samples": 10, "learning_rate": 0.7}),
  Row("nes", "l2", 0.8, {"queries": 60, "samples": 10}, "strongest"),
  Row(
    "partial_information",
    "linf",
    0.3,
    {"queries": 150, "samples": 10},
  ),
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
  Row("carlini_wagner_linf", "linf", INF, {"steps": 30, "iterations": 8}),
  Row(
    "carlini_wagner_linf",
    "linf",
    0.3,
    {"steps": 20, "iterations": 6, "learning_rate": 0.2, "c": 3.0, "doublings": 1},
  ),
  Row("carlini_wagner_l0", "l0", INF, {"steps": 50, "iterations": 8}),
  Row(
    "carlini_wagner_l0",
    "l0",
    4.0,
    {"steps": 24, "iterations": 6, "learning_rate": 0.2, "c": 3.0, "share": 0.5},
  ),
  Row(
    "lbfgs",
    "l2",
    INF,
    # where a search is over is not left to rounding
    {"search_steps": 3, "iterations": 8, "c": 0.3, "shrink": 3, "tolerance": 1e-3},
  ),
  Row("lbfgs", "l2", 0.5, {"search_steps": 2, "iterations": 12, "c": 3.0}),
  Row(
    "lbfgs",
    "l2",
    INF,
    {"search_steps": 3, "iterations": 6, "c": 3.0, "shrink": 0, "every_point": False},
  ),
  Row(
    "jsma",
    "l0",
    INF,
    {
      "steps": 8,
      "theta": 0.2,
      "features": 2,
      "direction": "both",
      "changes": 2,
      "fast": False,
    },
  ),
  Row("jsma", "l0", 3.0, {"steps": 6, "theta": 0.5, "features": 1, "fast": True}),
)
# one of each attack, for the rules in which norm and radius play no part
ONE_EACH = tuple({row.method: row for row in reversed(TABLE)}.values())
