import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from fanin.corpus import Corpus, Words
from fanin.errors import OptionError
from fanin.networks import CharacterMLP
from fanin.race.events import Chunk
from fanin.race.record import RecordError
from fanin.search import Search, SearchResults, find, seek
from fanin.search.candidates import candidates, signature
from fanin.search.course import RECORD
from fanin.search.ranking import ranked
from fanin.search.record import CheckDone, RungDone
from fanin.search.rungs import cost, rungs_for
from fanin.search.wording import check_notes, search_notes
from fanin.starts import MadeFor, find_start
from fanin.training import TrainingOptions

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
CORPUS = Corpus.of(Words.of(NAMES), block=2)
NETWORK = CharacterMLP(len(CORPUS.vocabulary), block=2, embedding=2, hidden=(4,))
# With two good scales among those that learn nothing, or less, or explode.
GOOD = ("fanin:gain=0.9", "fanin:gain=1.2,output=0.2")
BAD = ("fanin:gain=0", "fanin:output=3000", "constant", "normal:gain=900", "fanin:bias=100")
PLAN = Search(
    CORPUS,
    budget=30,
    network=NETWORK,
    options=TrainingOptions(steps=600, batch=4),
    starts=tuple(map(find_start, (*BAD, *GOOD))),
    activations=("tanh", "relu"),
    normalisations=(None,),
    candidates=7,
    seeds=(0, 1, 2),
    fixed_lr=True,
)


@pytest.fixture(scope="module")
def found():
    return find(PLAN)


def names(pool):
    return [each.name for each in pool]


# --- the search


def test_a_good_scale_among_bad_ones_is_found_and_checked(found):
    first, last = found.rungs
    assert (len(first.candidates), first.steps, len(last.candidates), last.steps) == (
        7,
        200,
        3,
        600,
    )
    assert found.winner.name in GOOD
    assert {PLAN.pool[place].name for place in last.candidates} > set(GOOD)
    assert last.candidates == first.kept
    assert found.checked.lanes == ("fanin", found.winner.name)
    (compared,) = found.compared()
    assert (compared.start, compared.reference) == (found.winner.name, "fanin")
    assert compared.standing.comparison.pairs == 3
    assert compared.level == 0.95
    # 7 × 2 seeds × a third, 3 × 2 seeds, two sides × 3 seeds.
    assert found.spent == pytest.approx(7 * 2 / 3 + 3 * 2 + 2 * 3)
    scheme = found.scheme(found.compared())
    assert scheme.hidden == found.winner.start.hidden
    assert scheme.made_for == MadeFor("tanh", None)
    assert compared.text in scheme.summary


def test_what_was_tried_and_what_decides_is_told(found):
    told = " ".join((*search_notes(found), *check_notes(found, found.compared())))
    assert "Tried: 7 candidates, 7 by name and 0 drawn from seed 0" in told
    assert "flatters it: only test losses on other seeds decide" in told
    assert "Spent: 16.7 of 30 runs, 6 of them on the check" in told
    document = json.loads(json.dumps(found.document(found.compared()), allow_nan=False))
    assert names(PLAN.pool) == [each["name"] for each in document["candidates"]]
    assert all(each["rungs"] for each in document["candidates"])


def test_the_seeds_of_rungs_tuning_and_check_are_apart_and_no_rung_sees_the_test_words(found):
    plan = replace(PLAN, fixed_lr=False, budget=200)
    used = [*(rung.seeds for rung in plan.rungs), plan.tuning.seeds, plan.seeds]
    used += [rung.seeds for rung in replace(plan, seed=1).rungs]
    assert len(set().union(*used)) == sum(map(len, used))
    assert found.checked.seeds == plan.seeds
    with pytest.raises(OptionError, match="for the search and for the check"):
        replace(PLAN, seeds=(0, plan.rungs[0].seeds[0]))
    with pytest.raises(OptionError, match="both for tuning and for the race"):
        replace(plan, seeds=plan.tuning.seeds)
    for rung in plan.rungs:
        race = plan.race(rung, range(rung.candidates))
        np.testing.assert_array_equal(race.corpus.test.contexts, CORPUS.dev.contexts[:1])
    assert plan.check(plan.pool[-1]).corpus.test is CORPUS.test


def told(events):
    """What a search has shown, without its times."""
    kinds = RungDone | CheckDone
    return [replace_seconds(event) for event in events if isinstance(event, kinds)]


def replace_seconds(event):
    import msgspec

    return msgspec.structs.replace(event, seconds=0.0)


@pytest.mark.parametrize("stop_after", ["chunk", "rung", "nearly all"])
def test_a_search_that_was_stopped_goes_on_with_the_same_numbers(tmp_path, found, stop_after):
    events = seek(PLAN, tmp_path)
    for event in events:
        at_rung = isinstance(event, RungDone)
        if stop_after == "chunk" and isinstance(event, Chunk) and event.step:
            break
        if (stop_after == "rung" and at_rung) or (at_rung and event.number == 2):
            break
    events.close()
    record = tmp_path / RECORD
    if stop_after == "nearly all":  # cut within the line of the second rung
        record.write_bytes(record.read_bytes()[:-20])
    again = told(seek(PLAN, tmp_path))
    assert again == [*map(replace_seconds, found.rungs), replace_seconds(found.checked)]
    before = record.read_bytes()
    assert told(seek(PLAN, tmp_path)) == again
    assert record.read_bytes().removeprefix(before).count(b"\n") == 1


def test_another_search_is_refused_in_the_same_folder(tmp_path):
    events = seek(PLAN, tmp_path)
    next(events)
    events.close()
    with pytest.raises(RecordError, match="another search: seed was 0, and is now 1"):
        next(seek(replace(PLAN, seed=1), tmp_path))
    other = replace(PLAN, starts=(*PLAN.starts[:-1], find_start("normal")))
    with pytest.raises(RecordError, match="another search: candidate 6, name was"):
        next(seek(other, tmp_path))
    (tmp_path / RECORD).write_bytes(b"something else\n")
    with pytest.raises(RecordError, match="no record of a search"):
        next(seek(PLAN, tmp_path))


def test_where_every_run_diverges_the_search_says_so():
    wild = tuple(find_start(f"normal:gain={gain}") for gain in (800, 900))
    plan = replace(
        PLAN, starts=wild, candidates=2, options=TrainingOptions(steps=9, batch=4, lr=1e20)
    )
    with pytest.raises(OptionError, match="no run of 2 candidates ended better than a blind guess"):
        find(plan)


def test_fanin_itself_is_not_checked_and_what_beat_it_is():
    starts = tuple(map(find_start, ("fanin", "normal:gain=300")))
    plan = replace(PLAN, starts=starts, candidates=2)
    results = find(plan)
    assert results.is_reference
    assert results.compared() == ()
    assert "First came fanin itself" in check_notes(results, ())[0]
    other = replace(plan, starts=(find_start("orthogonal"), *starts))
    assert [lane.name for lane in other.check(other.pool[0]).lanes] == ["fanin", "orthogonal"]


def test_a_winner_in_another_network_is_checked_in_that_too():
    network = replace(NETWORK, activation="relu")
    drawn = next(
        each
        for each in replace(PLAN, starts=None, candidates=None, budget=80).pool
        if each.network == network and each.start.name != "fanin"
    )
    assert [lane.network.activation for lane in PLAN.lanes_of_check(drawn)] == [
        "tanh",
        "relu",
        "relu",
    ]
    results = SearchResults(PLAN)
    lanes = ("fanin", "x activation=relu", "fanin activation=relu")
    losses = ((2.5, 2.55, 2.52), (2.4, 2.5, 2.44), (2.4, 2.51, None))
    results.add(CheckDone(0, lanes, (0, 1, 2), losses, losses, (0.1,) * 3, (False,) * 3, 1.0))
    compared = results.compared(level=0.94)
    assert [(each.start, each.reference) for each in compared] == [
        (lanes[1], lanes[0]),
        (lanes[1], lanes[2]),
        (lanes[2], lanes[0]),
    ]
    assert {round(each.level, 6) for each in compared} == {0.98}
    assert compared[0].standing.comparison.difference == pytest.approx(-0.23 / 3)
    assert "diverged" in compared[2].text


# --- candidates, rungs and ranks


def test_candidates_come_from_the_seed_and_more_of_them_change_none():
    networks = (NETWORK, replace(NETWORK, activation="relu", normalisation="batch"))

    def drawn(count, **settings):
        return list(islice(candidates(None, networks, 0.1, **{**usual, **settings}), count))

    usual = {"within": 5.0, "fixed_lr": False, "seed": 0}
    pool = drawn(40)
    assert names(pool)[0] == "fanin"
    assert "fanin activation=relu normalisation=batch" in names(pool)
    assert names(drawn(30)) == names(pool)[:30]
    assert names(drawn(40, seed=1)) != names(pool)
    identities = {(each.network, each.lr, signature(each.start, each.network)) for each in pool}
    assert len(identities) == len(set(names(pool))) == 40
    # Two names of one thing are one candidate, and what could only lose is none.
    assert not {"lecun-normal", "constant"} & set(names(pool))
    assert {each.lr for each in drawn(20, fixed_lr=True)} == {0.1}
    for each in pool:
        if each.drawn:
            assert 0.02 <= each.lr <= 0.5
            options = dict(o.split("=") for o in each.start.name.partition(":")[2].split(",") if o)
            ends = {"gain": 1.0, "output": 0.1, "bias": 0.1, "embedding": 1.0}
            assert all(0.19 < float(v) / ends[name] < 5.1 for name, v in options.items())
            assert "bias" not in options or each.network.normalisation != "batch"
    with pytest.raises(OptionError, match="a larger factor"):
        drawn(500, within=1.0001, fixed_lr=True)


def test_a_third_goes_on_to_trainings_three_times_as_long():
    rungs = rungs_for(100, 20_000, 2)
    assert [(r.candidates, r.kept, r.steps) for r in rungs] == [
        (100, 34, 741),
        (34, 12, 2_223),
        (12, 4, 6_667),
        (4, 1, 20_000),
    ]
    assert cost(rungs) == pytest.approx(2 * (100 * 741 + 34 * 2_223 + 12 * 6_667) / 20_000 + 8)
    assert [r.steps for r in rungs_for(50, 300, 1)] == [300]  # a third would be too short
    assert len(rungs_for(3, 10**6, 1)) == 1  # there would be one left to choose from


def test_the_budget_decides_how_many_are_tried_and_says_what_would_do():
    plan = replace(PLAN, starts=None, candidates=None, budget=60)
    spare = plan.budget - 3 * len(plan.seeds)
    assert cost(plan.rungs) <= spare < cost(rungs_for(len(plan.pool) + 1, 600, 2))
    with pytest.raises(OptionError, match=r"budget of 10 runs is too small: .* so 12 would do"):
        replace(PLAN, candidates=None, budget=10, activations=("tanh",), seeds=(0, 1, 2, 3))
    assert replace(PLAN, candidates=None, budget=12, activations=("tanh",), seeds=(0, 1, 2, 3))
    with pytest.raises(OptionError, match="a search of 900 candidates takes"):
        replace(PLAN, candidates=900)


def test_a_candidate_that_diverges_loses():
    losses = ((2.0, None), (2.5, 2.6), (2.4, 2.5), (9.0, 2.0), (None, None))
    assert ranked(losses, 3.0) == [2, 1, 0, 3, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget must be from 1"),
        ({"candidates": 1}, "candidates must be from 2"),
        ({"within": 1.0}, "a factor above 1"),
        ({"starts": ()}, "starts are empty"),
        ({"rates": (0.1, 0.2)}, "rates are for tuning"),
        ({"activations": ()}, "activations are one or more"),
        ({"activations": ("fish",)}, "fish"),
        ({"seed": 2**31}, "seed must be from 0"),
        ({"seeds": ()}, "one seed or more"),
        ({"starts": (find_start("normal"),) * 2, "candidates": 2}, "two lanes are called 'normal'"),
        ({"options": TrainingOptions(steps=0)}, "steps must be 1 or more"),
    ],
)
def test_what_makes_no_search_is_refused(settings, message):
    with pytest.raises(OptionError, match=message):
        replace(PLAN, **settings)
