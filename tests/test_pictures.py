import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fanin.errors import OptionError
from fanin.pictures import live as live_module
from fanin.pictures.figures import check_figure_path, figure_bytes, write_figure
from fanin.pictures.live_curve import LiveCurve
from fanin.pictures.losses import band, loss_figure
from fanin.pictures.progress import Pace, TrainingDisplay
from fanin.training import History, Progress, TrainingState

UNIFORM = math.log(27)


def history(first, steps=4000):
    t = np.arange(steps)
    losses = 2 + (first - 2) * np.exp(-t / 20) + 0.1 * np.sin(t)
    dev = tuple(range(0, steps + 1, steps // 10))
    return History(
        losses.astype(np.float32), dev, tuple(2.1 + (first - 2.1) * np.exp(-s / 20) for s in dev)
    )


def record(step, losses, seconds, dev=None):
    return Progress(step, np.asarray(losses, np.float32), dev, seconds, TrainingState(step, {}))


# Figures.


def test_the_band_holds_the_inner_four_fifths_of_each_stretch():
    losses = np.arange(1000, dtype=np.float32)
    drawn = band(losses, stretches=10)
    assert np.allclose(drawn.median, 49.5 + 100 * np.arange(10))
    assert np.allclose(drawn.high - drawn.low, 0.8 * 99)
    # Steps are counted from 1: the first stretch is steps 1 to 100.
    assert np.allclose(drawn.steps, 50.5 + 100 * np.arange(10))
    assert band(losses[:3]).median.tolist() == [0, 1, 2]
    assert band(losses[:0]).median.size == 0


def test_an_svg_is_the_same_bytes_each_time_with_text_as_text_and_no_black():
    pictures = [
        figure_bytes(loss_figure(history(3.3), UNIFORM, title="a run"), ".svg", salt="losses")
        for _ in range(2)
    ]
    assert pictures[0] == pictures[1]
    text = pictures[0].decode()
    shown = " ".join(node.text or "" for node in ET.fromstring(text).iter())
    for expected in ("a run", "step", "loss (nats per symbol)", "dev", "log V, a blind guess"):
        assert expected in shown
    assert "currentColor" in text
    assert "#000000" not in text
    assert "#010101" not in text


def test_a_start_above_the_scale_is_told_and_one_near_log_v_is_shown():
    far, near = loss_figure(history(27.0), UNIFORM), loss_figure(history(3.31), UNIFORM)
    bottom, top = far.axes[0].get_ylim()
    assert bottom < 1.9
    assert UNIFORM < top < 4
    assert far.axes[0].get_title(loc="right") == "dev 27.0 at step 0, above this scale"
    assert near.axes[0].get_ylim()[1] > 3.31
    assert near.axes[0].get_title(loc="right") == ""


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_the_shortest_runs_can_be_drawn(steps, tmp_path):
    losses = History(np.full(steps, 3.0, np.float32), (0,), (3.2,))
    write_figure(loss_figure(losses, UNIFORM), tmp_path / "l.PNG", salt="losses")
    assert (tmp_path / "l.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("losses.pdf", r"written as \.svg or \.png"),
        ("losses", r"written as \.svg or \.png"),
        ("missing/losses.svg", "its folder does not exist"),
        ("folder.svg", "is a folder"),
    ],
)
def test_pictures_that_cannot_be_written(tmp_path, name, complaint):
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(OptionError, match=complaint):
        check_figure_path(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


# Progress.


def test_pace_counts_speed_without_the_compilation():
    pace = Pace(1000)
    pace.update(record(0, [], 0.5, dev=3.3))
    assert pace.text == "step 0 of 1,000 · dev 3.300"
    pace.update(record(1, [3.0], 4.0))
    assert math.isnan(pace.speed)
    pace.update(record(501, [2.0] * 500, 9.0, dev=2.5))
    assert pace.speed == 100
    assert pace.text == "step 501 of 1,000 · batch 2.002 · dev 2.500 · 100 steps/s · 5 s left"
    pace.update(record(1000, [1.0] * 499, 14.0))
    assert pace.batch == pytest.approx((1.0 * 499 + 2.0 * 500 + 3.0) / 1000, abs=2e-3)
    assert "left" not in pace.text


def test_without_a_terminal_a_line_at_most_every_ten_seconds_and_a_last_one(monkeypatch, tmp_path):
    clock = 0.0
    monkeypatch.setattr(live_module.time, "monotonic", lambda: clock)
    with (
        (tmp_path / "log").open("w") as stream,
        TrainingDisplay(100, UNIFORM, live=True, stream=stream) as display,
    ):
        for step in range(100):
            clock = step * 0.25
            display(record(step, [3.0], clock))
    assert [line.split(" · ")[0] for line in (tmp_path / "log").read_text().splitlines()] == [
        "step 40 of 100",
        "step 80 of 100",
        "step 99 of 100",
    ]


def test_the_live_curve_keeps_to_its_size_and_to_what_can_be_seen():
    curve = LiveCurve(100_000, UNIFORM)
    assert curve.draw(80, 24) == ""
    for step in range(100, 100_001, 100):
        loss = 27.0 if step < 1000 else 2.0 + 100 / step
        curve.update(record(step, [loss] * 100, step / 1000))
    for width, height in ((80, 24), (200, 60), (40, 12)):
        lines = curve.draw(width, height).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= height
        assert not any("27" in line.split("|")[0] for line in lines)
    assert curve.draw(20, 24) == ""
    assert curve.draw(80, 4) == ""
