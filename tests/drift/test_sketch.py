import numpy as np
import pytest
from scipy.stats import ks_2samp

from monitor.drift.sketch import MAX_BINS, Sketch, SketchData
from tests.drift.snapshots import sketch


def test_quantiles_are_within_two_percent() -> None:
    values = np.random.default_rng(0).lognormal(size=2_000)
    made = sketch(values)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert made.quantile(share) == pytest.approx(np.quantile(values, share, method="lower"), rel=0.021)


def test_a_sketch_of_data_equals_the_one_that_was_written() -> None:
    made = sketch([-3.0, -0.5, 0.0, 0.0, 0.2, 5.0])
    read = Sketch(SketchData.model_validate_json(made.data().model_dump_json()))
    assert read.count == 6
    assert read.data() == made.data()
    assert read.quantile(1) == pytest.approx(5, rel=0.02)


def test_merged_sketches_equal_one_of_all_values() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=300), rng.normal(1, 2, size=200)
    merged = sketch(a)
    merged.merge(sketch(b))
    assert merged.data() == sketch([*a, *b]).data()


def test_the_distance_is_that_of_the_values() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=1_000), rng.normal(0.4, 1, size=800)
    assert sketch(a).distance(sketch(b)) == pytest.approx(ks_2samp(a, b).statistic, abs=0.02)
    assert sketch(a).distance(sketch(a)) == 0
    assert sketch([1.0]).distance(Sketch()) is None


def test_bins_are_bounded_however_far_apart_values_are() -> None:
    made = sketch(10.0**exponent for exponent in range(-30, 30))
    assert len(made.data().positive) <= MAX_BINS
    assert made.count == 60
    assert made.quantile(1) == pytest.approx(1e29, rel=0.02)


def test_small_values_that_only_one_side_put_together_are_no_difference() -> None:
    values = [1e-6, 1e-5, 1e-4, 1.0]
    wide = sketch([*values * 25, 1e6])
    assert wide.distance(sketch([*values * 25, 9e5])) == pytest.approx(1 / 101)


def test_values_that_are_not_finite_are_ignored() -> None:
    assert sketch([float("nan"), float("inf"), 1.0]).count == 1


def test_bins_that_no_value_falls_into_are_refused() -> None:
    with pytest.raises(ValueError, match="no value falls into it"):
        Sketch(SketchData(positive={10**9: 1}))
