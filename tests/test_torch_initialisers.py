import jax
import numpy as np
import pytest

from fanin.networks import CharacterMLP
from fanin.starts import find_start

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
init = torch.nn.init

# The second hidden layer has the fans 300 and 200, and torch's weight the shape (200, 300).
NETWORK = CharacterMLP(27, hidden=(300, 200))
FAN_IN, FAN_OUT = 300, 200


def ours(name, parameter="hidden.1.weight"):
    return np.asarray(find_start(name)(NETWORK, jax.random.key(0))[parameter], np.float64)


def theirs(initialise, **options):
    torch.manual_seed(0)
    weight = torch.empty(FAN_OUT, FAN_IN)
    initialise(weight, **options)
    return weight.numpy().astype(np.float64).T


@pytest.mark.parametrize(
    ("name", "initialise", "options"),
    [
        # torch's own default of kaiming is the gain of a leaky relu of slope 0: relu's.
        ("kaiming-normal", init.kaiming_normal_, {}),
        ("kaiming-uniform", init.kaiming_uniform_, {}),
        ("glorot-normal", init.xavier_normal_, {}),
        ("glorot-uniform", init.xavier_uniform_, {}),
        ("kaiming-normal:mode=fan_out", init.kaiming_normal_, {"mode": "fan_out"}),
        ("kaiming-uniform:gain=1", init.kaiming_uniform_, {"nonlinearity": "linear"}),
        ("glorot-uniform:gain=3", init.xavier_uniform_, {"gain": 3}),
        ("constant:gain=0.3", init.constant_, {"val": 0.3}),
        ("normal:gain=0.2", init.normal_, {"std": 0.2}),
    ],
)
def test_the_distribution_of_torch(name, initialise, options):
    mine, its = ours(name), theirs(initialise, **options)
    assert mine.shape == its.shape
    # 60,000 samples: the standard deviations agree to four standard errors of their difference.
    assert mine.std() == pytest.approx(its.std(), rel=4 / 60_000**0.5, abs=1e-9)
    # By quantile: the whole distribution, and with it the kind.
    shares = np.linspace(0.05, 0.95, 91)
    spread = max(its.std(), 1e-9)
    np.testing.assert_allclose(
        np.quantile(mine, shares) / spread, np.quantile(its, shares) / spread, atol=0.04
    )
    if "uniform" in name:
        assert np.abs(mine).max() == pytest.approx(np.abs(its).max(), rel=1e-4)


@pytest.mark.parametrize("gain", [1, 1.6])
def test_orthogonal_as_torch_has_it_for_matrices_that_are_not_square(gain):
    weight, its = ours(f"orthogonal:gain={gain}"), theirs(init.orthogonal_, gain=gain)
    # 300 to 200: the columns that lead to the 200 units are orthonormal, not the rows.
    for matrix in (weight, its):
        np.testing.assert_allclose(matrix.T @ matrix, gain**2 * np.eye(FAN_OUT), atol=1e-4)
    assert weight.std() == pytest.approx(its.std(), rel=1e-3)
    # 30 to 300: the other way about.
    first = ours(f"orthogonal:gain={gain}", "hidden.0.weight")
    np.testing.assert_allclose(first @ first.T, gain**2 * np.eye(30), atol=1e-4)


def test_torch_default_is_what_linear_and_embedding_do():
    torch.manual_seed(0)
    linear = torch.nn.Linear(FAN_IN, FAN_OUT)
    weight, bias = (x.detach().numpy() for x in (linear.weight, linear.bias))
    for mine, its in (
        (ours("torch-default"), weight),
        (ours("torch-default", "hidden.1.bias"), bias),
    ):
        assert np.abs(mine).max() <= FAN_IN**-0.5
        assert np.abs(mine).max() == pytest.approx(np.abs(its).max(), rel=0.01)
        assert mine.std() == pytest.approx(its.std(), rel=4 / mine.size**0.5)
    output = torch.nn.Linear(200, 27).bias.detach().numpy()
    assert np.abs(ours("torch-default", "output.bias")).max() <= 200**-0.5
    assert np.abs(output).max() <= 200**-0.5
    embedding = torch.nn.Embedding(27, 10).weight.detach().numpy()
    assert ours("torch-default", "embedding.weight").std() == pytest.approx(
        embedding.std(), rel=0.2
    )
