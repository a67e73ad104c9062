"""Planted adversaries: what is known to be there, and the rate at which each attack
finds it (Zimmermann et al., 2022)."""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_victims import curved

from jaxadv import build, core, data, drive, losses, planted, problem
from jaxadv.attacks import ATTACKS
from jaxadv.data.audio import CHUNK_SAMPLES
from jaxadv.norms import NORMS
from jaxadv.victim import load_victim

N = 30
VICTIM = curved(5, 4, N)
X = np.random.default_rng(0).uniform(-0.9, 0.9, (64, N)).astype(np.float32)
CLIPS = core.examples(X, 0)
FAR = 4.0  # where partial information begins: so many times the planted perturbation
RADIUS = {"l0": 15.0, "l1": 2.0, "l2": 0.5, "linf": 0.15}


def features(params, x):
  return jnp.tanh(params[1] @ x)


class Rate(NamedTuple):
  """The least share of the planted adversarials that an attack must find."""

  method: str
  norm: str
  least: float
  hyper: Mapping[str, Any] = MappingProxyType({})
  most: float = 1.0


RATES = (
  # what noise finds would be too easy
  *(Rate("white_noise", norm, 0.0, most=0.1) for norm in ("l1", "l2", "linf")),
  Rate("fgsm", "linf", 0.9),
  Rate("fgsm", "l2", 0.7),
  Rate("fgsm", "l1", 0.2),
  Rate("bim", "linf", 1.0),
  Rate("bim", "l2", 1.0),
  Rate("bim", "l1", 0.7),
  Rate("pgd", "linf", 1.0, {"steps": 20}),
  Rate("pgd", "l2", 1.0, {"steps": 20}),
  Rate("pgd", "l1", 0.6, {"steps": 20}),
  Rate("pgd", "l2", 1.0, {"steps": 20, "optimizer": "momentum"}),
  Rate("pgd", "l2", 1.0, {"steps": 20, "optimizer": "adam"}),
  Rate("apgd", "linf", 1.0, {"steps": 20}),
  Rate("apgd", "l2", 1.0, {"steps": 20}),
  Rate("apgd", "l1", 1.0, {"steps": 40}),
  Rate("apgd_targeted", "linf", 1.0, {"steps": 20}),
  Rate("apgd_targeted", "l2", 1.0, {"steps": 20}),
  Rate("apgd_targeted", "l1", 1.0, {"steps": 40}),
  Rate("fab", "linf", 1.0, {"iterations": 10}),
  Rate("fab", "l2", 1.0, {"iterations": 10}),
  Rate("fab", "l1", 1.0, {"iterations": 10}),
  Rate("square", "linf", 0.9, {"steps": 500}),
  Rate("square", "l2", 1.0, {"steps": 500}),
  Rate("square", "l1", 1.0, {"steps": 500}),
  Rate("nes", "linf", 0.9),
  Rate("nes", "l2", 0.9),
  Rate("nes", "l1", 0.8),
  Rate("partial_information", "linf", 0.5, {"queries": 20_000}),
  Rate("partial_information", "l2", 0.9, {"queries": 20_000}),
  Rate("partial_information", "l1", 0.9, {"queries": 20_000}),
  Rate("deepfool", "l2", 1.0),
  Rate("deepfool", "linf", 1.0),
  Rate("ddn", "l2", 1.0, {"steps": 50}),
  Rate("fmn", "l0", 1.0, {"steps": 50}),
  Rate("fmn", "l1", 1.0, {"steps": 50}),
  Rate("fmn", "l2", 1.0, {"steps": 50}),
  Rate("fmn", "linf", 1.0, {"steps": 50}),
  Rate("carlini_wagner", "l2", 1.0, {"search_steps": 4, "iterations": 100}),
  Rate("carlini_wagner_linf", "linf", 1.0, {"iterations": 100}),
  Rate("carlini_wagner_l0", "l0", 1.0, {"iterations": 50}),
  Rate("lbfgs", "l2", 1.0),
  Rate("jsma", "l0", 1.0),
)


@functools.cache
def plants(norm: str):
  threat = problem.Threat(NORMS[norm], RADIUS[norm])
  keys = jax.random.split(jax.random.key(1), len(X))
  one = functools.partial(planted.plant, features, tuple(VICTIM), threat=threat)
  every = jax.vmap(lambda key, example: one(key, example))
  return jax.jit(every)(keys, CLIPS)


LOGITS = planted.planted_logits(features)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_what_is_planted_is_there_and_the_ball_inside_is_not(norm):
  there, params = plants(norm), tuple(VICTIM)
  said = jax.vmap(lambda p, x: LOGITS((params, p), x))
  separable = np.asarray(there.separable)
  assert separable.mean() > 0.4
  clean, moved = said(there, X), said(there, X + there.delta)
  assert (np.asarray(clean).argmax(1) == 0).all()
  assert (np.asarray(moved).argmax(1)[separable] == 1).all()
  size = np.array([NORMS[norm].size(d) for d in there.delta])
  assert (size <= RADIUS[norm] * 1.00001).all() and size.min() > 0.5 * RADIUS[norm]
  assert np.abs(X + there.delta).max() <= 1 + 1e-6


@pytest.mark.parametrize("method", list(ATTACKS))
def test_every_attack_has_a_rate_in_every_norm(method):
  norms = set(ATTACKS[method]().norms or NORMS)
  lacking = norms - {rate.norm for rate in RATES if rate.method == method}
  assert not lacking, f"give {method} a Rate for {', '.join(lacking)} in RATES"


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate.method}-{rate.norm}")
def test_each_attack_finds_what_is_planted_at_its_rate(rate):
  # no point is uniform in an l0 ball: those planted in l2, by half of the coordinates
  there = plants(rate.norm if rate.norm != "l0" else "l2")
  threat = problem.Threat(NORMS[rate.norm], RADIUS[rate.norm])
  bind = problem.bind(LOGITS, threat, losses.untargeted())
  driver = drive.driver(ATTACKS[rate.method](**rate.hyper), bind)

  def solve(key, there, example):
    return drive.solve(driver, (tuple(VICTIM), there), key, example)

  run = jax.jit(jax.vmap(solve, (None, 0, 0)))
  starts = jnp.clip(X + FAR * there.delta, -1, 1)
  lanes = jax.device_get(run(jax.random.key(0), there, CLIPS._replace(start=starts)))
  found = lanes.best.success[np.asarray(there.separable)]
  assert rate.least <= found.mean() <= rate.most


@pytest.mark.parametrize("method", ["pgd", "apgd", "fmn"])
def test_what_is_planted_around_a_trained_network_is_found(method):
  """Logits of the bundled VGG13 as features; recordings of one chunk, linf at 40 dB."""
  network, stack, threat, every = around_vgg13()
  logits = planted.planted_logits(network.logits)
  bind = problem.bind(logits, threat, losses.untargeted())
  driver = drive.driver(ATTACKS[method](steps=40), bind)

  def solve(there, example):
    params = network.variables, there
    return drive.solve(driver, params, jax.random.key(2), example).best.success

  found = jax.jit(solve)
  separable = [n for n, there in enumerate(every) if there.separable]
  assert len(separable) >= 3
  assert all(found(every[n], stack[n]) for n in separable)


@functools.cache
def around_vgg13():
  network = load_victim("bundled/vgg13")
  folder = {"root": "bundled", "vocabulary": "fsdkaggle2018", "verified_only": False}
  clips = build.dataset(folder | {"band_limit_hz": 0}, "test", network.classes).clips
  loaded = data.usable(data.load(clips[:16], band_limit_hz=0), {}, lambda said: None)
  short = [(x, count) for _, x, count in loaded if len(x) == CHUNK_SAMPLES][:4]
  stack = [
    core.Example(n, x, np.float32(np.arange(len(x)) < count), 0, -1)
    for n, (x, count) in enumerate(short)
  ]
  threat = problem.Threat(NORMS["linf"], 40.0, "snr_db")
  plant = functools.partial(planted.plant, network.logits, threat=threat, inner=60)
  one = jax.jit(lambda key, example: plant(network.variables, key, example))
  keys = jax.random.split(jax.random.key(1), len(stack))
  every = [one(key, example) for key, example in zip(keys, stack, strict=True)]
  return network, stack, threat, every
