import csv
import io
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fanin.errors import OptionError, ShapeError
from fanin.race.intervals import Interval, bootstrap_interval
from fanin.race.power import (
    chance_of_verdict,
    pairs_for_divergence,
    pairs_for_verdict,
    smallest_difference,
)
from fanin.race.standings import judge
from fanin.race.table import document_of, table, to_csv, to_json
from fanin.race.time_to_target import reached_at, time_to_target
from fanin.race.wording import nats, notes, verdict_text

LOG_27 = math.log(27)
NAN, INF = math.nan, math.inf

# Test losses by start, seed (the order of mini-batches) and key: scripts/record_losses.py.
# Copies of one start with keys of their own differ by 0.024 nats (standard deviation), two starts
# that share their draws by 0.006 around their difference.
FANIN, KAIMING = (
    np.loadtxt(Path(__file__).with_name("recorded_losses.csv"), delimiter=",", skiprows=1)
    .T[2:]
    .reshape(2, 32, 8)
)


def copies(generator, starts, seeds):
    """Recorded losses of copies of one start: the same seeds, other keys, drawn at random."""
    keys_by_seed = FANIN[generator.integers(0, 32, seeds)]
    of_starts = generator.permuted(keys_by_seed, axis=1)[:, :starts].T
    return {f"start {number}": of_starts[number] for number in range(starts)}


def sharing_draws(generator, starts, seeds):
    """Recorded losses of two starts that share keys, without the difference of their means."""
    rows, keys = generator.integers(0, 32, seeds), generator.integers(0, 8, seeds)
    shifted = KAIMING - KAIMING.mean() + FANIN.mean()
    return {"start 0": FANIN[rows, keys], "start 1": shifted[rows, keys]}


def verdict(start, reference, **settings):
    standings = judge({"reference": reference, "start": start}, uniform_loss=LOG_27, **settings)
    return standings["start"].comparison.verdict


def text(start, reference, **settings):
    standings = judge({"ref": reference, "start": start}, uniform_loss=LOG_27, **settings)
    return verdict_text(standings["start"])


def around(mean, spread, count):
    """Values of exactly this mean and sample standard deviation."""
    values = np.linspace(-1, 1, count)
    return mean + spread * values / np.std(values, ddof=1)


# --- planted truths


@pytest.mark.parametrize("starts", [2, 5])
def test_copies_of_one_scheme_differ_in_a_twentieth_of_races(starts):
    generator, false = np.random.default_rng(starts), 0
    for _ in range(1_000):
        standings = judge(copies(generator, starts, 32), uniform_loss=LOG_27, bootstrap=False)
        false += any(
            start.comparison and start.comparison.verdict in ("better", "worse")
            for start in standings.starts
        )
    share = stats.binomtest(false, 1_000).proportion_ci(0.95)
    assert share.low < 0.05 < share.high


@pytest.mark.parametrize("diverging", [0.02, 0.3])
def test_copies_that_diverge_by_chance_differ_no_more_often(diverging):
    generator, false = np.random.default_rng(0), 0
    for _ in range(500):
        of_starts = copies(generator, 2, 32)
        for name in of_starts:
            of_starts[name][generator.random(32) < diverging] = NAN
        false += verdict(*of_starts.values(), bootstrap=False) in ("better", "worse")
    assert stats.binomtest(false, 500).proportion_ci(0.95).low < 0.05


@pytest.mark.parametrize("residuals", [copies, sharing_draws])
def test_a_planted_shift_is_found(residuals):
    generator, found = np.random.default_rng(1), 0
    for _ in range(200):
        of_starts = residuals(generator, 2, 32)
        of_starts["start 1"] -= 0.02
        standings = judge(of_starts, uniform_loss=LOG_27, bootstrap=False)
        found += standings["start 1"].comparison.verdict == "better"
    assert found / 200 >= 0.95


# --- the verdict on losses


def test_intervals_are_those_of_the_paired_t_test_and_shared_among_comparisons():
    of_starts = copies(np.random.default_rng(2), 4, 20)
    standings = judge(of_starts, uniform_loss=LOG_27, reference="start 2")
    reference = of_starts["start 2"]
    assert standings.comparison_level == pytest.approx(1 - 0.05 / 3)
    for start in standings.starts:
        values = of_starts[start.name]
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (start.interval.low, start.interval.high) == pytest.approx(expected)
        assert start.mean == pytest.approx(values.mean())
        if start.name == "start 2":
            assert start.comparison is None
            continue
        expected = stats.ttest_rel(values, reference).confidence_interval(1 - 0.05 / 3)
        found = start.comparison
        assert (found.interval.low, found.interval.high) == pytest.approx(expected)
        assert found.difference == pytest.approx((values - reference).mean())
        assert found.pairs == 20
        assert found.bootstrap.level == found.interval.level
        assert found.bootstrap.low == pytest.approx(found.interval.low, abs=0.01)


def test_better_and_worse_in_words():
    reference = 2.2 + 0.01 * np.sin(np.arange(32))
    shift = around(-0.021, 0.025, 32)
    assert text(reference + shift, reference) == "better by 0.021 nats (0.012 to 0.030, 32 pairs)"
    assert text(reference - shift, reference) == "worse by 0.021 nats (0.012 to 0.030, 32 pairs)"


def test_a_difference_that_is_shown_but_small_is_called_so():
    shift = around(-0.004, 0.005, 32)
    assert (
        text(2.2 + shift, np.full(32, 2.2))
        == "better by 0.004 nats (0.002 to 0.006, 32 pairs), less than the margin of 0.01"
    )
    assert "less than" not in text(2.2 + shift, np.full(32, 2.2), margin=0.005)


def test_an_interval_that_leaves_out_zero_is_not_shown_to_reach_it():
    shift = around(0.0049, 0.0125, 32)
    assert "worse by 0.005 nats (0.0004 to 0.0094, 32 pairs)" in text(2.2 + shift, np.full(32, 2.2))


def test_equivalence_takes_two_one_sided_tests():
    reference = np.full(32, 2.2)
    shift = around(0.003, 0.02, 32)
    assert text(reference + shift, reference) == (
        "equivalent within 0.01 nats (−0.003 to 0.009, 32 pairs)"
    )
    # The upper test's p is just above or below 0.05: stats.ttest_1samp at the margin says which.
    for mean in (0.0039, 0.0041):
        shift = around(mean, 0.02, 32)
        p = stats.ttest_1samp(shift, 0.01, alternative="less").pvalue
        expected = "equivalent" if p < 0.05 else "undecided"
        assert verdict(reference + shift, reference) == expected
    assert verdict(reference + around(0.0039, 0.02, 32), reference, level=0.99) == "undecided"


def test_undecided_says_what_could_have_been_shown_and_what_would_do():
    shift = around(-0.005, 0.02, 8)
    standings = judge({"ref": np.full(8, 2.2), "start": 2.2 + shift}, uniform_loss=LOG_27)
    found = standings["start"].comparison
    assert found.verdict == "undecided"
    nc = found.smallest_difference / (0.02 / math.sqrt(8))
    critical = stats.t.isf(0.025, 7)
    assert stats.nct.sf(critical, 7, nc) == pytest.approx(0.8, abs=1e-4)
    assert verdict_text(standings["start"]) == (
        "undecided: difference −0.005 nats (−0.022 to 0.012, 8 pairs); "
        f"these pairs could have shown {found.smallest_difference:.3f}; "
        f"about {found.seeds_needed} seeds would do"
    )
    # At 41 pairs whatever is not shown to be a difference is mostly shown to be small.
    assert found.seeds_needed == pairs_for_verdict(8, -0.005, 0.02, 0.05, 0.01) == 41


def test_bootstrap_stands_beside_from_sixteen_pairs_on_and_repeats_itself():
    values = around(0.0, 1.0, 16) ** 3
    assert bootstrap_interval(values[:15], 0.95) is None
    assert bootstrap_interval(np.full(16, 0.5), 0.95) is None
    found = bootstrap_interval(values, 0.95)
    assert found == bootstrap_interval(values, 0.95)
    assert found.low < values.mean() < found.high


def test_identical_records_are_identical_and_never_nan():
    same = [2.2, 2.3, NAN, 2.4]
    assert text(same, list(same)) == "identical to ref (the 3 pairs where both finished)"
    assert text([2.2], [2.2]) == "identical to ref (1 pair)"
    assert verdict([2.2, 2.3], [2.2, 2.3000001]) != "identical"
    # A constant shift has no spread, and an interval without width.
    found = judge({"a": [2.0, 2.1, 2.4], "b": [2.1, 2.2, 2.5]}, uniform_loss=LOG_27)["b"]
    assert found.comparison.verdict == "worse"
    assert found.comparison.interval.low == pytest.approx(0.1)
    assert found.comparison.interval.high == pytest.approx(0.1)


def test_one_seed_decides_nothing():
    assert (
        text([2.1], [2.2])
        == "undecided: difference −0.100 nats (no interval, 1 pair); give two seeds or more"
    )


# --- runs that diverged


def test_diverged_is_not_finite_or_worse_than_uniform():
    at_uniform = float(np.nextafter(np.float32(LOG_27), np.float32(4)))
    standings = judge({"a": [2.0, at_uniform, LOG_27 + 0.01, NAN, INF, None]}, uniform_loss=LOG_27)
    (start,) = standings.starts
    assert (start.finished, start.diverged, start.pending) == (2, 3, 1)
    assert start.mean == pytest.approx((2.0 + LOG_27) / 2)
    assert standings.interim


def test_divergence_is_compared_first_by_mcnemars_exact_test():
    reference = np.full(32, 2.2)
    start = reference + around(-0.1, 0.01, 32)
    start[:7] = NAN
    found = judge({"ref": reference, "start": start}, uniform_loss=LOG_27)["start"].comparison
    assert found.divergence.p == pytest.approx(2 * 0.5**7)
    assert (found.verdict, found.basis, found.pairs) == ("worse", "divergence", 25)
    assert text(start, reference).startswith(
        "worse: diverged in 7 of 32 runs, ref in 0 (p = 0.016); difference −0.09"
    )
    assert text(start, reference).endswith("the 25 pairs where both finished)")
    assert text(reference, start).startswith("better: diverged in 0 of 32 runs, ref in 7")


def test_a_start_that_diverges_more_is_never_better():
    reference = np.full(32, 2.2)
    start = reference + around(-0.1, 0.01, 32)
    start[0] = INF
    found = judge({"ref": reference, "start": start}, uniform_loss=LOG_27)["start"].comparison
    assert found.interval.high < 0
    assert (found.verdict, found.basis) == ("undecided", "divergence")
    # One in 32, always on one side: seven of them, the fewest that show it, take 7 × 32 seeds.
    assert found.seeds_needed == 224
    assert "but diverged in 1 of 32 runs, ref in 0" in text(start, reference)
    # Where it is also worse, nothing speaks against saying so.
    assert verdict(2 * reference - start, reference) == "worse"


def test_equivalence_is_not_claimed_where_a_seed_made_one_of_two_diverge():
    reference = np.full(64, 2.2)
    start = reference + around(0.0, 0.01, 64)
    assert verdict(start, reference) == "equivalent"
    start[0] = reference[1] = NAN
    assert verdict(start, reference) == "undecided"
    start[1] = reference[0] = NAN
    assert verdict(start, reference) == "equivalent"


def test_all_runs_diverged():
    assert verdict([NAN] * 8, [2.2] * 8) == "worse"
    assert verdict([NAN] * 8, [NAN] * 8) == "undecided"
    assert text([NAN] * 4, [2.2, 2.3, 2.4, 2.5]) == (
        "undecided: no pair where both finished; diverged in 4 of 4 runs, ref in 0 (p = 0.12); "
        "about 7 seeds would do"
    )


# --- whatever the losses

some_loss = st.one_of(st.none(), st.sampled_from([NAN, INF, 2.2]), st.floats(0, 5))
two_starts = st.integers(1, 24).flatmap(
    lambda seeds: st.tuples(*[st.lists(some_loss, min_size=seeds, max_size=seeds)] * 2)
)


def numbers_of(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers_of(part)]
    return [value] if isinstance(value, float) else []


@given(two_starts)
def test_verdicts_are_mirrored_when_start_and_reference_change_places(pair):
    mirrored = {"better": "worse", "worse": "better"}
    there, back = verdict(*pair, bootstrap=False), verdict(*pair[::-1], bootstrap=False)
    assert mirrored.get(there, there) == back


@given(two_starts)
def test_nothing_that_is_written_is_nan_and_diverging_more_is_never_better(pair):
    standings = judge({"ref": pair[0], "start": pair[1]}, uniform_loss=LOG_27)
    document = json.loads(
        to_json(document_of(standings, steps=10, seconds=1.0)),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )
    assert all(math.isfinite(number) for number in numbers_of(document))
    found = standings["start"].comparison
    if found.verdict == "better":
        assert found.divergence.more <= 0
    assert standings.interim == (None in pair[0] or None in pair[1])
    assert verdict_text(standings["start"])


# --- power


def test_power_is_that_of_the_noncentral_t_distribution():
    for pairs, difference in [(4, 2.0), (16, 0.7), (200, 0.1)]:
        critical, nc = stats.t.isf(0.005, pairs - 1), difference * math.sqrt(pairs)
        expected = stats.nct.sf(critical, pairs - 1, nc) + stats.nct.cdf(-critical, pairs - 1, nc)
        assert chance_of_verdict(pairs, difference, 1.0, 0.01) == pytest.approx(expected, abs=1e-5)
    assert chance_of_verdict(16, 0.0, 1.0, 0.05) == pytest.approx(0.05, abs=1e-5)


def test_power_of_a_verdict_is_what_simulation_shows():
    sample = np.random.default_rng(3).normal(0.004, 0.012, (20_000, 12))
    mean, error = sample.mean(axis=1), sample.std(axis=1, ddof=1) / math.sqrt(12)
    different = np.abs(mean) > stats.t.isf(0.025, 11) * error
    equivalent = np.abs(mean) < 0.01 - stats.t.isf(0.05, 11) * error
    found = chance_of_verdict(12, 0.004, 0.012, 0.05, margin=0.01)
    assert found == pytest.approx((different | equivalent).mean(), abs=0.01)


def test_pairs_that_would_do_are_the_fewest():
    for difference, spread in [(0.0, 0.02), (0.005, 0.02), (0.03, 0.04)]:
        needed = pairs_for_verdict(4, difference, spread, 0.05, 0.01)
        chances = [
            chance_of_verdict(count, difference, spread, 0.05, 0.01)
            for count in (needed - 1, needed)
        ]
        assert chances[0] < 0.8 <= chances[1]
    assert pairs_for_verdict(4, 0.0, 0.02, 0.05, 0.0) is None
    assert smallest_difference(20, 0.02, 0.05) < smallest_difference(20, 0.02, 0.01)


def test_pairs_that_would_show_who_diverges_more():
    assert pairs_for_divergence(4, 4, 0, 0.05) == 6  # 2 · ½⁶ is the first p below 0.05
    assert pairs_for_divergence(10, 2, 2, 0.05) is None
    # Three against one: 80 % power at 0.05 takes 37 that differ, of 4 in 10 (binomial tables).
    power = [
        stats.binom.cdf(k, n, 0.25)
        for n, k in (
            (n, max(k for k in range(n) if stats.binom.cdf(k, n, 0.5) <= 0.025))
            for n in range(6, 60)
        )
    ]
    first = 6 + next(place for place, chance in enumerate(power) if chance >= 0.8)
    assert abs(pairs_for_divergence(10, 3, 1, 0.05) - first * 10 / 4) <= 10


# --- time to a target


def test_median_time_to_a_target():
    found = time_to_target(
        np.array([100.0, 300.0, NAN, 200.0]), np.array([1000, 1000, 1000, 1000]), 2.5
    )
    assert (found.median, found.reached, found.runs) == (200.0, 3, 4)
    assert found.share_on_the_way == pytest.approx((0.75, 0.5, 0.25, 0.25))


def test_a_run_that_is_still_under_way_counts_for_as_long_as_it_was_watched():
    # Kaplan and Meier by hand: 1 − 1/4, then one of two that are left: 3/4 · 1/2.
    found = time_to_target(np.array([10.0, NAN, 30.0, NAN]), np.array([50, 20, 50, 50]), 2.5)
    assert found.times == (10, 20, 30, 50)
    assert found.share_on_the_way == pytest.approx((0.75, 0.75, 0.375, 0.375))
    assert found.median == 30


def test_a_median_that_no_run_tells_lies_beyond():
    found = time_to_target(np.array([100.0, NAN, NAN]), np.array([900, 900, 800]), 2.5)
    assert (found.median, found.beyond) == (None, 900)
    none = time_to_target(np.array([NAN, NAN]), np.array([900, 900]), 2.5)
    assert (none.median, none.beyond, none.reached) == (None, 900, 0)


def test_reached_at_the_first_time_at_or_below():
    curves = np.array([[3.0, 2.5, 2.6], [3.0, 2.9, 2.8], [2.0, NAN, NAN], [NAN, NAN, 2.4]])
    found = reached_at(np.array([0, 10, 20]), curves, 2.5)
    np.testing.assert_array_equal(found, [10, NAN, 0, 20])


# --- the document


def race():
    of_starts = copies(np.random.default_rng(5), 3, 16)
    of_starts["start 1"] -= 0.05
    of_starts["start 2"] += 0.2
    of_starts["start 2"][3] = NAN
    standings = judge(
        of_starts,
        uniform_loss=LOG_27,
        seeds=range(100, 116),
        dev_loss={"start 1": of_starts["start 1"]},
        tuned_lr={"start 1": 0.3},
    )
    target = time_to_target(np.array([NAN, 12_000.0]), np.array([20_000, 20_000]), 2.2)
    return standings, document_of(
        standings, steps=20_000, seconds=61.5, steps_to_target={"start 0": target}
    )


def test_json_has_the_standings():
    standings, document = race()
    read = json.loads(to_json(document))
    assert (read["schema"], read["reference"], read["seeds"]) == (1, "start 0", 16)
    assert (read["steps"], read["seconds"], read["interim"]) == (20_000, 61.5, False)
    assert read["seed_numbers"] == list(range(100, 116))
    reference, better, worse = read["starts"]
    assert reference["verdict"] == "reference"
    assert reference["difference"] is None
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")
    assert better["level"] == pytest.approx(0.975)
    assert better["dev_loss"] == better["test_loss"] == list(standings["start 1"].test_loss)
    assert (better["tuned_lr"], better["paired_seeds"], better["diverged"]) == (0.3, 16, 0)
    low, high = better["difference_interval"]
    assert low < better["difference"] < high < 0
    assert (worse["diverged"], worse["paired_seeds"], worse["test_loss"][3]) == (1, 15, None)
    assert reference["steps_to_target"]["median"] == 12_000


def test_csv_has_a_row_a_start_and_a_column_a_seed():
    standings, document = race()
    rows = list(csv.DictReader(io.StringIO(to_csv(document))))
    assert [row["name"] for row in rows] == ["start 0", "start 1", "start 2"]
    assert rows[0]["difference"] == rows[2]["test_loss_103"] == rows[2]["dev_loss_100"] == ""
    assert float(rows[1]["difference"]) == standings["start 1"].comparison.difference
    assert float(rows[1]["test_loss_115"]) == standings["start 1"].test_loss[15]
    assert rows[0]["steps_to_target"] == "12000.0"
    assert "nan" not in to_csv(document)


def test_table_leaves_out_what_no_start_has():
    heads, rows = table(race()[1])
    assert heads == ("start", "test loss", "diverged", "rate", "steps to target", "verdict")
    assert rows[0][-2:] == ("12,000", "reference")
    assert rows[2][2] == "1 of 16"
    assert rows[1][-1].startswith("better by 0.0")
    plain = judge({"a": [2.2, 2.3], "b": [2.3, 2.4]}, uniform_loss=LOG_27)
    heads, rows = table(document_of(plain, steps=1, seconds=1.0))
    assert heads == ("start", "test loss", "verdict")
    assert rows[0] == ("a", "2.250 ± 0.635", "reference")


def test_notes_say_what_the_intervals_are_over():
    standings, _ = race()
    said = " ".join(notes(standings))
    assert "over initialisation and mini-batch order; words and split are fixed" in said
    assert "level 97.5 % (2 comparisons, 95 % in all)" in said
    assert "uniform model's 3.2958" in said
    assert "Interim" not in said
    early = judge({"a": [2.2, None], "b": [2.3, 2.4]}, uniform_loss=LOG_27)
    assert "Interim" in " ".join(notes(early))
    assert judge({"a": [2.2]}, uniform_loss=LOG_27, interim=True).interim


def test_losses_are_shown_as_finely_as_their_interval_allows():
    assert [nats(-0.00213, half) for half in (0.1, 0.001, 0.0009, 0.0)] == [
        "−0.002", "−0.002", "−0.0021", "−0.002",
    ]  # fmt: skip
    assert nats(-0.0002) == "0.000"
    assert Interval(-0.005, 0.009, 0.9).within(0.01)
    assert not Interval(-0.005, 0.01, 0.9).within(0.01)


# --- what cannot be judged


@pytest.mark.parametrize(
    ("of_starts", "settings", "error", "message"),
    [
        ({}, {}, OptionError, "at least one start"),
        ({"kaiming": [2.2]}, {"reference": "kaimin"}, OptionError, "'kaimin'.*'kaiming' would do"),
        ({"a": [2.2], "b": [2.2, 2.3]}, {}, ShapeError, "'b' has 2 test losses for 1 seeds"),
        ({"a": []}, {}, ShapeError, "at least one seed"),
        ({"a": [2.2, 2.3]}, {"seeds": [1, 1]}, OptionError, "a seed is there twice"),
        ({"a": [2.2]}, {"dev_loss": {"a": []}}, ShapeError, "'a' has 0 dev losses"),
        ({"a": [2.2]}, {"margin": 0.0}, OptionError, "margin is 0.0"),
        ({"a": [2.2]}, {"margin": NAN}, OptionError, "margin is nan"),
        ({"a": [2.2]}, {"level": 95.0}, OptionError, "level is 95.0: give a share"),
    ],
)
def test_what_cannot_be_judged_is_named(of_starts, settings, error, message):
    with pytest.raises(error, match=message):
        judge(of_starts, uniform_loss=LOG_27, **settings)


def test_more_pairs_show_smaller_differences():
    smallest = [smallest_difference(pairs, 0.02, 0.05) for pairs in (2, 3, 8, 32, 1_000)]
    assert all(one > next_one for one, next_one in pairwise(smallest))
