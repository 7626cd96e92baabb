import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import integrate

from fanin.cli import MENDABLE, main


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A user's own module with an activation that the package does not know."""
    (tmp_path / "house_of_mish.py").write_text(
        "import numpy\n"
        "import jax.numpy as jnp\n"
        "def mish(x):\n"
        "    return x * jnp.tanh(jnp.logaddexp(x, 0))\n"
        "def of_numpy(x):\n"
        "    return numpy.tanh(numpy.asarray(x))\n"
        "def mixes(x):\n"
        "    return x - x.mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "house_of_mish"


def mish(x):
    return x * np.tanh(np.logaddexp(x, 0))


def expectation(function):
    def density(z):
        return function(z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return integrate.quad(density, -12, 12, epsabs=1e-12)[0]


def test_json_of_an_activation_that_the_package_does_not_know(module, capsys):
    assert main(["gain", f"{module}:mish", "--depth", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "fanin.gain/1"
    assert found["activation"] == f"{module}:mish"
    second = expectation(lambda z: mish(z) ** 2)
    slopes = expectation(lambda z: ((mish(z + 1e-6) - mish(z - 1e-6)) / 2e-6) ** 2)
    assert found["forward_gain"] == pytest.approx(second**-0.5, rel=1e-9)
    assert found["backward_gain"] == pytest.approx(slopes**-0.5, rel=1e-7)
    assert found["chi"] == pytest.approx(slopes / second, rel=1e-7)
    scaled = [expectation(lambda z, q=q: mish(q**0.5 * z) ** 2) for q in (1 + 1e-4, 1 - 1e-4)]
    assert found["slope"] == pytest.approx((scaled[0] - scaled[1]) / 2e-4 / second, rel=1e-6)
    assert found["slope"] > 1
    assert (found["stable"], found["stability"]) == (False, "unstable")
    # f′(0) = tanh(log 2) = 0.6, and at the critical gain the signal is as small as one likes.
    assert found["critical"]["gain"] == pytest.approx(1 / 0.6, rel=1e-9)
    assert found["critical"]["weight_variance"] == pytest.approx(1 / 0.36, rel=1e-9)
    assert [r["name"] for r in found["recursions"]] == ["forward", "backward", "critical"]
    assert all(len(r["second_moments"]) == 4 for r in found["recursions"])


@pytest.mark.parametrize(
    ("name", "forward", "backward", "slope", "chi"),
    [
        ("tanh", 1.59254, 1.46741, 0.461, 1.1778),
        ("relu", 1.41421, 1.41421, 1, 1),
        ("gelu", 1.53353, 1.48111, 1.144, 1.0720),
        ("sigmoid", 1.84623, 4.72265, 0.106, 0.1528),
    ],
)
def test_the_known_ones_to_the_published_digits(name, forward, backward, slope, chi, capsys):
    assert main(["gain", name, "--depth", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["forward_gain"] == pytest.approx(forward, abs=6e-6)
    assert found["backward_gain"] == pytest.approx(backward, abs=6e-6)
    assert found["slope"] == pytest.approx(slope, abs=6e-4)
    assert found["chi"] == pytest.approx(chi, abs=6e-5)
    assert found["stable"] == (slope < 1.001)


def test_what_has_no_theory_is_null_with_the_reason(capsys):
    assert main(["gain", "relu", "--bias-variance", "0.05", "--depth", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["critical"] is None
    assert "no weight variance with χ = 1" in found["no_theory"]["critical"]
    assert "recursions.0.scales.xi_q" in found["nonfinite"]


def test_text_says_what_each_figure_is_for(capsys):
    assert main(["gain", "silu", "--depth", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "silu"
    assert lines[1].split()[:3] == ["forward", "gain", "1.67653"]
    assert lines[2].split()[:3] == ["backward", "gain", "1.62332"]
    assert "unstable: in deep networks the moments run away, whatever the gain" in lines[3]
    assert [line.split()[0] for line in lines[-3:]] == ["forward", "backward", "critical"]
    assert "the second moment grows without bound" in lines[-1]


def test_a_picture(tmp_path, capsys):
    picture = tmp_path / "tanh.svg"
    assert main(["gain", "tanh", "--depth", "5", "--plot", str(picture)]) == 0
    text = picture.read_text()
    for expected in ("tanh, layer by layer", "forward gain, 1.593", "correlation c of two exam"):
        assert expected in text
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tahn"], "activation 'tahn' is not known; did you mean tanh?"),
        (["house_of_mish:mosh"], "activation 'house_of_mish:mosh' cannot be imported"),
        (["house_of_mish:of_numpy"], "cannot be traced and differentiated by JAX (Tracer"),
        (["house_of_mish:mixes"], "the activation gives a number another value in other company"),
        (["tanh", "--depth", "0"], "depth must be from 1 to 200; found 0"),
        (["tanh", "--bias-variance", "-1"], "bias variance is a finite number from 0 up, not -1"),
        (["tanh", "--plot", "tanh.gif"], "a picture is written as .svg or .png"),
    ],
)
def test_errors_that_can_be_mended(arguments, message, module, capsys):
    assert main(["gain", *arguments]) == MENDABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_an_activation_of_torch_is_refused_with_the_reason(capsys):
    pytest.importorskip("torch", reason="shows what becomes of a PyTorch callable")
    assert main(["gain", "torch:tanh"]) == MENDABLE
    assert "'torch:tanh' cannot be traced and differentiated by JAX (TypeError" in (
        capsys.readouterr().err
    )


def test_a_module_is_found_where_one_stands(module, tmp_path):
    # With -P Python leaves the working folder out, as it does for an installed script.
    command = [sys.executable, "-P", "-m", "fanin", "gain", f"{module}:mish", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["activation"] == f"{module}:mish"
