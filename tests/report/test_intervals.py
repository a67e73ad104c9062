"""Bootstrap intervals against scipy, the binomial distribution and their purpose."""

import numpy as np
import pytest
from scipy.stats import binom, bootstrap

from jaxadv.report.intervals import Sample, interval


def one_row_a_clip(values) -> Sample:
  return Sample(list(values), list(range(len(values))))


def assert_ends(found, draws):
  """That 2.5% of many draws are below the interval, and above: of 2000 draws, 2.5%
  are known to 0.35%."""
  low, high = np.percentile(draws, [1.6, 3.4]), np.percentile(draws, [96.6, 98.4])
  assert low[0] <= found.low <= low[1]
  assert high[0] <= found.high <= high[1]


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("count", [31, 60])
def test_an_interval_is_scipys(statistic, count):
  values = np.random.default_rng(count).exponential(10, count)
  found = interval([one_row_a_clip(values)], statistic)
  assert found.value == pytest.approx(getattr(np, statistic)(values))
  of_scipy = bootstrap(
    (values,),
    getattr(np, statistic),
    n_resamples=20000,
    method="percentile",
    rng=np.random.default_rng(7),
  )
  assert_ends(found, of_scipy.bootstrap_distribution)


@pytest.mark.parametrize("won, count", [(3, 40), (20, 40), (190, 200)])
def test_a_rates_interval_is_the_binomials(won, count):
  found = interval([one_row_a_clip(np.arange(count) < won)])
  exact = binom.ppf([0.025, 0.975], count, won / count) / count
  np.testing.assert_allclose([found.low, found.high], exact, atol=1.01 / count)


def test_rows_of_one_clip_are_drawn_together():
  values = np.random.default_rng(1).normal(size=25)
  once = interval([one_row_a_clip(values)])
  thrice = Sample(np.repeat(values, 3), np.repeat(np.arange(25), 3))
  np.testing.assert_allclose(interval([thrice]), once)
  # so are those of two models: their mean is no more certain if they agree
  np.testing.assert_allclose(interval([one_row_a_clip(values)] * 2), once)
  other = Sample(values, [f"other {n}" for n in range(25)])
  apart = interval([one_row_a_clip(values), other])
  assert apart.high - apart.low < 0.85 * (once.high - once.low)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_models_of_unlike_clips_weigh_the_same(statistic):
  rng = np.random.default_rng(2)
  first, second = rng.normal(0, 1, 30), rng.normal(9, 1, 12)
  samples = [one_row_a_clip(first), one_row_a_clip(second)]
  reduce = getattr(np, statistic)

  # clips 12 to 29 are of the first model alone
  def drawn(at, axis=-1):
    del axis
    middles = [
      (reduce(first[draw]) + reduce(second[draw[draw < 12]])) / 2 for draw in at
    ]
    return np.array(middles)

  value = drawn(np.arange(30)[None])[0]
  draws = drawn(np.random.default_rng(3).integers(0, 30, (4000, 30)))
  found = interval(samples, statistic)
  assert found.value == pytest.approx(value)
  assert_ends(found, draws)


def test_it_holds_the_truth_about_as_often_as_it_says():
  rng = np.random.default_rng(4)
  held = 0
  for _ in range(400):
    found = interval([one_row_a_clip(rng.normal(5, 2, 50))])
    held += found.low <= 5 <= found.high
  # the percentile interval of 50 values holds it in 93 to 94% of cases
  assert 0.90 <= held / 400 <= 0.97


def test_nothing_is_none_and_one_has_no_width():
  assert interval([]) is None
  assert interval([Sample([], [])]) is None
  assert interval([Sample([], []), Sample([3.0], ["a"])]) == (3, 3, 3)
  # a draw without a clip of the second model is made of the first
  both = interval([one_row_a_clip([1.0, 1.0, 1.0]), Sample([2.0], [0])])
  assert both == (1.5, 1.0, 1.5)
