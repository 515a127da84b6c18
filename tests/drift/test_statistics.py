import numpy as np
import pytest
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp

from monitor.drift.statistics import distance_p, false_discovery, rate_ratio, rates_p


def test_the_test_of_rates_is_the_pooled_z_test() -> None:
    assert rates_p((30, 60), (1000, 1200)) == pytest.approx(
        chi2_contingency([[30, 970], [60, 1140]], correction=False).pvalue
    )


@pytest.mark.parametrize(("hits", "of"), [((1, 3), (1000, 1000)), ((999, 998), (1000, 1000)), ((0, 5), (0, 10))])
def test_too_few_cases_have_no_test(hits: tuple[int, int], of: tuple[int, int]) -> None:
    assert rates_p(hits, of) is None


def test_the_ratio_has_its_interval() -> None:
    ratio = rate_ratio((100, 200), (10_000, 10_000))
    assert ratio == pytest.approx((2.0, 1.5758, 2.5384), abs=1e-3)
    assert rate_ratio((0, 10), (100, 100)) is None


def test_the_test_of_distances_is_that_of_kolmogorov_and_smirnov() -> None:
    rng = np.random.default_rng(0)
    found = ks_2samp(rng.normal(size=500), rng.normal(0.12, 1, size=700))
    assert distance_p(found.statistic, (500, 700)) == pytest.approx(found.pvalue, rel=0.15)
    assert distance_p(0.0, (500, 700)) == 1
    assert distance_p(0.9, (49, 700)) is None


def test_adjusted_p_values() -> None:
    p = [0.04, 0.001, 0.3, 0.03, 0.8]
    assert false_discovery(p) == pytest.approx(list(false_discovery_control(p)))
    assert false_discovery([]) == []
