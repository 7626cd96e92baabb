import jax
import numpy as np
import pytest

from fanin.diagnosis.streams import shared_streams


def test_one_key_shows_through_other_shapes_scales_and_places():
    key = jax.random.key(3)
    found = shared_streams(
        {
            "first": jax.random.normal(key, (30, 100)),
            "second": 0.05 * jax.random.normal(key, (17, 11)) + 3.0,
            "third": jax.random.normal(jax.random.key(4), (30, 100)),
        }
    )
    assert [(pair.first, pair.second) for pair in found] == [("first", "second")]
    assert found[0].correlation == pytest.approx(1.0, abs=1e-5)
    assert found[0].length == 17 * 11


def test_one_seed_for_a_uniform_and_a_normal_layer():
    key = jax.random.key(5)
    pair = {
        "one": jax.random.uniform(key, (40, 40), minval=-1),
        "other": jax.random.normal(key, (40, 8)),
    }
    (found,) = shared_streams(pair)
    assert found.correlation > 0.9


def test_a_negative_scale_is_found_too():
    row = np.random.default_rng(0).standard_normal(64)
    (found,) = shared_streams({"one": row, "other": -2 * row[:32]})
    assert found.correlation == pytest.approx(-1.0)


def test_independent_constant_short_and_infinite_parameters_are_left_alone():
    chance = np.random.default_rng(1)
    row = chance.standard_normal(64)
    parameters = {f"layer.{n}": chance.standard_normal(16 + n) for n in range(200)}
    parameters |= {"zero": np.zeros(64), "ones": np.ones(64)}
    parameters |= {"short": row[:15], "long": row, "broken": np.where(row > 1, np.inf, row)}
    assert shared_streams(parameters) == ()


def test_three_parameters_of_one_stream_are_three_pairs():
    row = np.random.default_rng(2).standard_normal(100)
    found = shared_streams({"b": row[:50], "a": row, "c": row[:80]})
    assert [(pair.first, pair.second) for pair in found] == [("b", "a"), ("b", "c"), ("a", "c")]


def test_what_repeats_itself_was_not_drawn_and_what_was_drawn_does_not():
    angles = np.arange(50)[:, None] * np.exp(np.arange(16) * -0.6)
    table = np.stack([np.sin(angles), np.cos(angles)], -1)
    assert shared_streams({"one": table, "other": 3 * table[:40]}) == ()
    for seed in range(20):
        drawn = np.random.default_rng(seed).standard_normal(16 + 40 * seed)
        assert len(shared_streams({"one": drawn, "other": drawn.copy()})) == 1
