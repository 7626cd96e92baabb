"""What a pass of a module is seen to do: every operation, in order, by its name and its line."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose


def batch(examples=64, features=8, classes=5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(examples, features, generator=generator)
    return x, torch.randint(classes, (examples,), generator=generator)


def recording(module, inputs=None, targets=None, **settings):
    x, y = batch()
    return diagnose(
        module, x if inputs is None else inputs, y if targets is None else targets, **settings
    ).recording


class Functional(nn.Module):
    """Activations that no module stands for, one of them in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 16)
        self.third, self.output = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = F.tanh(self.first(x))
        x = torch.sigmoid_(self.second(x))
        x = self.third(x).relu()
        return self.output(x)


def test_functional_and_in_place_activations_are_seen_in_order():
    found = recording(Functional())
    assert [layer.name for layer in found.layers] == ["first", "second", "third", "output"]
    assert [layer.nonlinearity for layer in found.layers] == ["tanh", "sigmoid", "relu", None]
    assert [layer.nonlinearity_before for layer in found.layers] == [
        None,
        "tanh",
        "sigmoid",
        "relu",
    ]
    assert [layer.role for layer in found.layers] == ["hidden", "hidden", "hidden", "output"]
    assert all(layer.place.startswith("test_torch_capture.py:") for layer in found.layers[:3])


def test_in_place_activations_are_measured_before_the_call():
    torch.manual_seed(0)
    module, (x, _) = Functional(), batch()
    layer = recording(module).layer("second")
    with torch.no_grad():
        before = module.second(torch.tanh(module.first(x)))
    assert layer.preactivation.mean == pytest.approx(float(before.mean()), abs=1e-6)
    assert layer.preactivation.std == pytest.approx(float(before.std(unbiased=False)), rel=1e-5)
    assert layer.activation.mean == pytest.approx(float(before.sigmoid().mean()), rel=1e-5)


def test_moments_and_gradients_are_those_of_pytorch():
    torch.manual_seed(0)
    module, (x, y) = Functional(), batch()
    layer = recording(module).layer("third")
    a = torch.sigmoid(module.second(torch.tanh(module.first(x))))
    hidden = module.third(a).relu()
    loss = F.cross_entropy(module.output(hidden), y)
    gradient, weight = torch.autograd.grad(loss, [hidden, module.third.weight])
    assert layer.activation.second_moment == pytest.approx(
        float(hidden.detach().square().mean()), rel=1e-5
    )
    assert layer.activation.zero_share == pytest.approx(float((hidden == 0).float().mean()))
    own = float(gradient.square().mean()) * 64**2
    assert layer.gradient.second_moment == pytest.approx(own, rel=1e-5)
    parameter = next(each for each in layer.parameters if each.name == "third.weight")
    assert parameter.gradient.second_moment == pytest.approx(
        float(weight.square().mean()), rel=1e-4
    )
    assert layer.weight_std == pytest.approx(
        float(module.third.weight.detach().std(unbiased=False)), rel=1e-4
    )


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.again, self.output = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.into(x).tanh()
        for _ in range(3):
            x = self.again(x).tanh()
        return self.output(x)


def test_calls_of_one_module_are_told_apart_and_joined_by_parameter():
    found = recording(Reused())
    names = ["into", "again", "again#2", "again#3", "output"]
    assert [layer.name for layer in found.layers] == names
    assert [layer.calls for layer in found.layers] == [1, 1, 2, 3, 1]
    calls = found.layers[1:4]
    assert [len(layer.parameters) for layer in calls] == [2, 0, 0]
    assert len({layer.gain for layer in calls}) == 1
    assert len({layer.activation.std for layer in calls}) == 3


def test_what_vanishes_in_one_call_of_many_is_seen():
    class OneCall(Reused):
        def forward(self, x):
            x = self.into(x).tanh()
            for call in range(3):
                x = (self.again(x) * (1e-9 if call == 1 else 1.0)).tanh()
            return self.output(x)

    report = diagnose(OneCall(), *batch())
    assert report.verdict == "bad"


def test_an_activation_of_ones_own_is_one_operation():
    class Swish(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(1.5 * x)

    found = recording(nn.Sequential(nn.Linear(8, 16), Swish(), nn.Linear(16, 5)))
    assert [layer.nonlinearity for layer in found.layers] == ["Swish", None]
    assert found.layers[0].saturation is not None  # known by its values: flat from below


def test_a_normalisation_of_ones_own_is_one_operation():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(16))

        def forward(self, x):
            return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    module = nn.Sequential(nn.Linear(8, 16), Root(), nn.ReLU(), nn.Linear(16, 5))
    first = recording(module).layers[0]
    assert (first.normalisation, first.nonlinearity) == ("rms", "relu")
    assert [each.role for each in first.parameters][-1] == "normalisation gain"
    assert first.normalised.second_moment == pytest.approx(1.0, rel=1e-3)


def test_twice_the_same_module_says_the_same():
    module = nn.Sequential(nn.Linear(8, 16), nn.Dropout(), nn.ReLU(), nn.Linear(16, 5))
    one, other = (diagnose(module, *batch()).to_dict() for _ in range(2))
    assert one == other


def test_residual_streams_have_branches_and_sums():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.into, self.out = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x):
            return x + self.out(F.gelu(self.into(self.norm(x))))

    module = nn.Sequential(nn.Linear(8, 16), Block(), Block(), nn.Linear(16, 5))
    found = recording(module)
    assert [layer.kind for layer in found.layers].count("sum") == 2
    assert found.layer("1.into").role == found.layer("1.out").role == "residual"
    assert found.layer("0").role == "hidden"
    assert (found.layer("1.into").branches, found.layer("1.out").branches) == (0, 1)
    assert found.layer("1:sum").reads == ("0", "1.out")
