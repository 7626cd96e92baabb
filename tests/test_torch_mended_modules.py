"""Faults in PyTorch modules are found where they are, and mended."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from benchmarks.mended_modules import SUBJECTS, blobs, difference, distance, found, mend

from fanin.torch import diagnose


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_each_fault_is_found_at_its_layer_and_mended(subject):
    _, before, after = mend(subject, seed=0)
    assert before.verdict == "bad"
    assert [fault.words for fault in subject.faults if not found(subject, fault, before)] == []
    assert after.verdict == "good"
    assert not any(found(subject, fault, after) for fault in subject.faults)


def test_a_stream_that_dies_at_a_sum_is_found():
    resnet = SUBJECTS[1]
    torch.manual_seed(0)
    module = resnet.make()
    with torch.no_grad():
        module[6].bn2.bias.fill_(-10.0)
    report = diagnose(module, *resnet.given(0))
    bad = [(check.name, check.layers) for check in report.checks if check.verdict == "bad"]
    assert bad == [("dead units", ("6.conv2",)), ("examples", ("6.conv2",))]


def test_copies_of_one_start_are_trained_on_the_same_batches():
    generator = SUBJECTS[2]
    (untouched, spoilt, _), _, _ = mend(generator, seed=0)
    first = generator.trained(copy.deepcopy(untouched), 0, 2)
    assert generator.trained(untouched, 0, 2) == first != generator.trained(spoilt, 0, 2)


def test_the_distance_is_of_what_the_pictures_show():
    one, another = (blobs(256, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert distance(one, one) == 0
    assert distance(one, another) < 0.2 * distance(one, -another)


def test_seeds_that_decide_nothing_are_said_to():
    assert difference([1.0, 2.0, 3.0], [2.0, 1.5, 3.5]).endswith("undecided")
    assert difference([1.0, 2.0, 3.0], [2.0, 3.1, 4.0]).endswith("better")
