import json
import math

import numpy as np
import pytest

from fanin.cli import MENDABLE, main
from fanin.corpus import Corpus, Words
from fanin.diagnosis.thresholds import THRESHOLDS
from fanin.pictures.calibration_page import calibration_page
from fanin.race.calibrated import document_of
from fanin.race.calibration import Calibration, Trained, TrainedFamily
from fanin.race.draws import draw_families
from fanin.race.judgement import Checked, Judgement
from fanin.race.limits import Fitted
from fanin.race.reliability import ended, roc_area
from fanin.race.sides import SIDES, shipped_score

NAMES = [a + b + c for a in "abdefgk" for b in "aeio" for c in ("n", "lo", "rie")]
UNIFORM, UNIGRAM = math.log(27), 2.8


def member(loss, seed=0):
    return Trained("fanin", seed, rate=0.1, suggested=0.1, first_loss=3.3, loss=loss)


def family(losses, number=0):
    network = {"vocabulary": 27, "hidden": [8], "activation": "tanh", "normalisation": None}
    members = tuple(member(loss, seed) for seed, loss in enumerate(losses))
    return TrainedFamily(number, network, 1.0, members)


def judged(saturation=0.0, verdict="good"):
    return Judgement((Checked("saturation", verdict, saturation),), {})


def outcomes(losses, judgements=None):
    judgements = judgements or [judged()] * len(losses)
    both = {"uniform_loss": UNIFORM, "unigram_loss": UNIGRAM}
    return ended([family(losses)], [judgements], **both)


def test_a_network_ends_by_its_family_by_the_unigrams_and_by_a_blind_guess():
    found = outcomes([2.3, 2.44, 2.46, 2.79, 3.4, None])
    expected = ["trained", "trained", "behind", "unigrams", "diverged", "diverged"]
    assert [each.outcome for each in found] == expected
    assert [each.among_best for each in found] == [True, *[False] * 5]
    assert [each.hindered for each in found] == [False, False, *[True] * 4]


def test_the_area_is_the_chance_to_rank_a_pair_rightly():
    hindered = np.array([False, False, True, True])
    assert roc_area(np.array([0.0, 1.0, 2.0, 3.0]), hindered) == 1.0
    assert roc_area(np.array([0.0, 2.0, 1.0, 3.0]), hindered) == 0.75
    assert roc_area(np.zeros(4), hindered) == 0.5
    assert math.isnan(roc_area(np.zeros(2), np.array([True, True])))


def test_the_score_is_one_where_suspect_begins_and_two_where_bad_does():
    suspect, bad = THRESHOLDS.saturation.above
    shares = [suspect, (suspect + bad) / 2, bad]
    found = outcomes([2.3] * 3, [judged(share) for share in shares])
    assert [shipped_score(each) for each in found] == pytest.approx([1.0, 1.5, 2.0])
    infinite = Judgement((Checked("finite", "bad", None),), {})
    assert shipped_score(outcomes([None], [infinite])[0]) > 50


def test_limits_are_set_where_networks_begin_to_fail():
    shares = np.linspace(0.0, 1.0, 120)
    # Of any ten neighbours, as many are hindered as their share says; from 0.9 on, all.
    hindered = (np.arange(120) * 7 % 10) / 10 < np.where(shares > 0.9, 1.0, shares)
    losses = np.where(hindered, 2.79, 2.3)
    # One of the worst is the best of all the same.
    losses[110] = 2.2
    networks = outcomes(losses.tolist(), [judged(share) for share in shares.tolist()])
    found = Fitted(SIDES, tuple(networks))
    at = next(i for i, side in enumerate(SIDES) if side.name == "saturated share, above")
    curve = found.curves[at]
    assert (np.diff(curve.shares) >= 0).all()
    assert curve.share(0.5) == pytest.approx(0.5, abs=0.2)
    assert 0.6 < curve.bounds.suspect < 0.85
    # So few are beyond that one that it could be chance.
    assert curve.bounds.bad == math.inf
    scores = [found.score(each) for each in networks]
    assert np.corrcoef(scores, shares)[0, 1] > 0.95
    assert {found.verdict(each) for each in networks} == {"good", "suspect"}


def test_families_are_drawn_each_by_its_own_generator():
    few, many = (draw_families(n, 6, vocabulary=27, block=3, seed=1) for n in (2, 4))
    assert many[:2] == few
    assert len({each.network for each in many}) > 1
    assert [each.seed for each in few[0].members] == list(range(6))
    assert all(0.1 <= each.rate_factor <= 10 for part in many for each in part.members)


def test_the_page_has_a_row_for_each_verdict_check_and_limit():
    losses = [[1.5, 1.51, 2.0, None], [1.6, 1.61, 2.0, 2.0]]
    shares = [[0.1, 0.2, 0.7, 0.9], [0.8, 0.2, 0.7, 0.1]]
    verdicts = [THRESHOLDS.saturation.verdict(share) for part in shares for share in part]
    each = iter(verdicts)
    judgements = [[judged(share, next(each)) for share in part] for part in shares]
    families = [family(part, number) for number, part in enumerate(losses)]
    corpus = Corpus.of(Words.of(NAMES), block=2)
    document = document_of(families, judgements, corpus, Calibration(2, 4))
    assert (document.networks, document.hindered, document.best) == (8, 4, 2)
    assert document.table["bad"] == {"trained": 1, "behind": 2, "unigrams": 0, "diverged": 1}
    assert document.area == pytest.approx((16 - 3 - 1.5 - 0.5) / 16, abs=0.1)
    of_family = "(2 of its 4 trained)"
    assert document.bad_among_best == (f"fanin, 1 × 8 tanh, seed 0: saturation {of_family}",)
    page = calibration_page(document)
    assert "| bad | 1 | 2 | 0 | 1 | 75% |" in page
    assert "| saturation | 4 | 1 | 4 | 1 | 1 |" in page
    assert "1 network of the best tenth (2) was called bad" in page
    assert page.count("\n| saturated share, above | 0.5 | 0.65 |") == 1


def test_a_calibration_goes_on_from_its_record_and_trains_nothing_again(
    tmp_path, monkeypatch, capsysbinary
):
    (tmp_path / "words.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    command = "race words.txt --calibrate --block 2 --first-seed 3 --families 1 --members"
    shape = command.split()
    options = ["--steps", "20", "--out", "record"]
    assert main([*shape, "2", *options, "--json"]) == 0
    out, err = capsysbinary.readouterr()
    document = json.loads(out, parse_constant=pytest.fail)
    assert (document["schema"], document["networks"]) == ("fanin.calibration/1", 2)
    assert sum(sum(row.values()) for row in document["table"].values()) == 2
    assert b"trained 1 of 1 families" in err
    record = (tmp_path / "record" / "calibration.jsonl").read_bytes()
    assert record.count(b"\n") == 2

    monkeypatch.setattr("fanin.race.calibration.race", None)  # as nothing is trained
    assert main([*shape, "2", *options, "--quiet"]) == 0
    out, err = capsysbinary.readouterr()
    assert out.startswith(b"# Does the verdict of step zero predict training?")
    assert err == b""
    assert (tmp_path / "record" / "calibration.jsonl").read_bytes().startswith(record)

    assert main([*shape, "3", *options]) == MENDABLE
    assert (
        b"holds another calibration: members was 2, and is now 3" in capsysbinary.readouterr().err
    )
    assert main([*shape, "2", "--start", "fanin"]) == MENDABLE
    assert b"--start is not for --calibrate" in capsysbinary.readouterr().err
    assert main(["race", "--families", "2"]) == MENDABLE
    assert b"--families is for --calibrate" in capsysbinary.readouterr().err
