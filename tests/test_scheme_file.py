import json
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.corpus import Words
from fanin.errors import FaninError, OptionError
from fanin.networks import CharacterMLP
from fanin.starts import SCHEMES, MadeFor, find_start, is_scheme_file, load_scheme, save_scheme
from fanin.trainer import prepare

WHOLE = {
    "format": "fanin.scheme/1",
    "hidden": {"distribution": "uniform", "gain": "forward", "mode": "fan_in"},
    "output": {"distribution": "normal", "gain": 0.1, "mode": "average"},
    "bias": {"distribution": "normal", "gain": 0.2},
    "output_bias": {"distribution": "constant"},
    "embedding": {"distribution": "orthogonal", "gain": 2},
    "scale_residual": True,
    "unit_preactivations": False,
    "made_for": {"activation": "gelu", "normalisation": "layer"},
    "summary": "by hand",
    "source": "nowhere",
}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return "mine.json"


def written(path, content):
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    Path(path).write_bytes(encoded)
    return path


@pytest.mark.parametrize("name", [*SCHEMES, "fanin:gain=0.3,bias=0.1,residual=plain"])
def test_every_scheme_comes_back_as_it_was_under_its_files_name(path, name):
    scheme = replace(find_start(name), made_for=MadeFor("tanh"))
    save_scheme(scheme, path)
    assert load_scheme(path) == replace(scheme, name=path)


def test_what_is_written_by_hand_may_leave_out_what_has_a_default(path):
    few = {name: WHOLE[name] for name in ("format", "hidden", "output")}
    scheme = load_scheme(written(path, few))
    fanin = SCHEMES["fanin"]
    assert (scheme.bias, scheme.embedding) == (fanin.bias, fanin.embedding)
    assert (scheme.hidden.distribution, scheme.made_for) == ("uniform", None)
    with_mark = b"\xef\xbb\xbf" + json.dumps(few).encode()
    assert load_scheme(written(path, with_mark)) == scheme


def test_a_file_is_a_start_with_options_like_any_other(path):
    written(path, WHOLE)
    assert is_scheme_file(path)
    assert not is_scheme_file("fanin:gain=1")
    changed = find_start(f"{path}:output=0.3,gain=2")
    assert changed.name == f"{path}:gain=2,output=0.3"
    assert (changed.hidden.gain, changed.output.gain) == (2.0, 0.3)
    network = CharacterMLP(5, block=2, embedding=3, hidden=(4,))
    save_scheme(find_start("fanin:gain=0.5"), "half.json")
    for one, other in zip(
        jax.tree.leaves(find_start("half.json")(network, jax.random.key(1))),
        jax.tree.leaves(find_start("fanin:gain=0.5")(network, jax.random.key(1))),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    words = Words.of([f"{first}{second}na" for first in "abcd" for second in "aeio"])
    run = prepare(words, start="half.json", embedding=2, hidden=(4,))
    assert run.start == "half.json"


def test_a_network_that_it_was_not_made_for_is_told(path):
    scheme = load_scheme(written(path, WHOLE))
    assert scheme.mismatch(CharacterMLP(5, activation="gelu", normalisation="layer")) == ""
    assert scheme.mismatch(CharacterMLP(5, activation="tanh", normalisation="layer")) == (
        "the start mine.json was made for gelu and layer normalisation, and this network has tanh "
        "and layer normalisation"
    )
    assert find_start("fanin").mismatch(CharacterMLP(5)) == ""


BROKEN = {
    "format": [(None, r"\$.format"), ("fanin.scheme/2", "fanin.scheme/2"), (1, r"\$.format")],
    "hidden": [
        (None, r"\$.hidden"),
        (
            {"distribution": "nomral"},
            r"'nomral' - at `\$.hidden.distribution`; there are normal, uniform",
        ),
        ({"distribution": "normal", "gain": -1}, r"\$.hidden: .* from 0 up"),
        ({"distribution": "normal", "gain": True}, r"\$.hidden.gain"),
        (
            {"distribution": "normal", "gain": "front"},
            r"'front' - at `\$.hidden.gain`; there are numbers from 0 up, forward",
        ),
        ({"distribution": "normal", "mode": "fan"}, r"\$.hidden.mode`; there are none, fan_in"),
        ({"distribution": "orthogonal", "mode": "fan_in"}, r"\$.hidden: .* gain alone"),
        ({"distribution": "normal", "gian": 1}, r"`gian` - at `\$.hidden"),
        ({"gain": 1}, r"`distribution` - at `\$.hidden"),
    ],
    "output": [([], r"\$.output")],
    "bias": [(0, r"\$.bias")],
    "output_bias": [("zero", r"\$.output_bias")],
    "embedding": [({"distribution": 1}, r"\$.embedding.distribution")],
    "scale_residual": [(1, r"\$.scale_residual")],
    "unit_preactivations": [("no", r"\$.unit_preactivations")],
    "made_for": [
        (
            {"activation": "tanh", "normalisation": "none"},
            r"\$.made_for.normalisation`; there are batch, layer, null",
        ),
        ({}, r"`activation` - at `\$.made_for"),
    ],
    "summary": [(3, r"\$.summary")],
    "source": [(None, r"\$.source")],
    "naem": [("x", "`naem`")],
}


def test_every_field_is_known_to_the_tests_of_what_is_broken():
    assert BROKEN.keys() - {"naem"} == WHOLE.keys()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [(field, *broken) for field, several in BROKEN.items() for broken in several],
)
def test_what_is_broken_is_told_with_its_file_and_field(path, field, value, message):
    with pytest.raises(OptionError, match=f"^mine.json: .*{message}"):
        load_scheme(written(path, {**WHOLE, field: value}))


@given(at=st.integers(0, 700), by=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, at, by, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    content = json.dumps(WHOLE).encode()
    path.write_bytes(content[:at] + by + content[at + cut :])
    with suppress(OptionError):
        load_scheme(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "truncated"), (b"\xff", "malformed"), (b"[" * 10**5, "format"), (b" " * 2**21, "bytes")],
)
def test_what_is_no_scheme_is_refused(path, content, message):
    with pytest.raises(OptionError, match=message):
        load_scheme(written(path, content))


def test_a_file_that_is_not_there_or_cannot_be_written_is_told(path, tmp_path):
    with pytest.raises(OptionError, match=r"mine.json: there is no such file"):
        find_start(path)
    with pytest.raises(FaninError, match="there is no such file"):
        prepare(start="sub/none.json:gain=1")
    scheme = SCHEMES["fanin"]
    with pytest.raises(OptionError, match=r"end its name in that"):
        save_scheme(scheme, "mine")
    with pytest.raises(OptionError, match="its folder does not exist"):
        save_scheme(scheme, "none/mine.json")
    written(path, b"old")
    Path(path).chmod(0o640)
    save_scheme(scheme, path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.json"]
