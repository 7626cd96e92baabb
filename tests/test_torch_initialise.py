"""Starting a module by a scheme, by what each weight does as the module runs."""

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.errors import OptionError
from fanin.starts import SCHEMES
from fanin.torch import diagnose, initialise_


class Model(nn.Module):
    """Of most kinds, with activations that no module stands for."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.up = nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1)
        self.frozen = nn.Linear(32, 32).requires_grad_(False)
        self.hidden, self.output = nn.Linear(32, 256), nn.Linear(256, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = F.silu(self.up(x)).mean((2, 3))
        return self.output(torch.tanh(self.hidden(self.frozen(x))))


X = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def started(scheme, **settings):
    torch.manual_seed(0)
    module = Model()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return module, before, {each.parameter: each for each in initialise_(module, scheme, sample=X)}


def test_gains_are_those_of_the_activation_before_each_layer_as_it_ran():
    module, before, done = started("fanin")
    # silu's gain after the picture's mean is no layer's: what reads a mean has a gain of 1.
    wanted = {
        "first.weight": 1 / math.sqrt(27),
        "up.weight": math.sqrt(2 / (32 * 16 / 4)),
        "hidden.weight": 1 / math.sqrt(32),
        "output.weight": 0.1 / math.sqrt(256),
    }
    for name, std in wanted.items():
        tensor = module.get_parameter(name)
        assert done[name].scale == pytest.approx(std), name
        assert float(tensor.detach().std()) == pytest.approx(std, rel=0.08), name
    for name in ("norm.weight", "norm.bias", "frozen.weight", "frozen.bias", "norm.running_mean"):
        assert torch.equal(module.state_dict()[name], before[name]), name
    assert "frozen" in done["frozen.weight"].what
    assert not module.hidden.bias.any()
    assert str(done["up.weight"]) == "up.weight: N(0, 0.125²), a gain over √128 after relu"


@pytest.mark.parametrize("name", sorted(set(SCHEMES) - {"critical", "lsuv"}))
def test_every_scheme_fills_every_weight(name):
    module, before, done = started(name)
    changed = ["first.weight", "up.weight", "hidden.weight", "output.weight"]
    assert all(not torch.equal(module.state_dict()[each], before[each]) for each in changed)
    assert all(done[each].scale is not None for each in changed)


def test_transposed_weights_are_orthogonal_by_unit():
    module, _, _ = started("orthogonal")
    units = module.up.weight.detach().transpose(0, 1).reshape(32, -1)
    torch.testing.assert_close(units @ units.T, torch.eye(32), atol=1e-5, rtol=0)


def test_lsuv_gives_every_layer_a_unit_second_moment_in_order_of_execution():
    module, _, done = started("lsuv")
    recording = diagnose(module, X, loss=None).recording
    for name in ("first", "up", "hidden"):
        assert recording.layer(name).preactivation.second_moment == pytest.approx(1.0, rel=5e-3)
        assert "measured" in done[f"{name}.weight"].what
    with torch.no_grad():
        module.frozen.weight.zero_(), module.frozen.bias.zero_()
    done = {each.parameter: each for each in initialise_(module, "lsuv", sample=X)}
    assert "not measured: it gives nothing" in done["hidden.weight"].what


def test_hidden_states_that_begin_with_zeros_are_measured_at_their_second_call():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.back = nn.Linear(6, 32), nn.Linear(32, 32, bias=False)

        def forward(self, x):
            state = x.new_zeros(len(x), 32)
            for _ in range(3):
                state = torch.tanh(self.into(x) + self.back(state))
            return state

    torch.manual_seed(0)
    done = {each.parameter: each for each in initialise_(Loop(), "lsuv", sample=torch.randn(64, 6))}
    assert "measured second moment" in done["back.weight"].what


def test_a_module_that_cannot_be_started_is_as_it_was():
    class Overflowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)
            self.middle = nn.Linear(32, 32)

        def forward(self, x):
            x = self.middle(torch.relu(self.first(x)) * float("inf"))
            return self.last(torch.relu(x))

    module = Overflowing()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(OptionError, match="not finite"):
        initialise_(module, "lsuv", sample=torch.randn(64, 6))
    assert all(torch.equal(module.state_dict()[name], each) for name, each in before.items())


def test_a_table_that_is_also_the_output_is_started_as_that():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.up = nn.Embedding(60, 32), nn.Linear(32, 32)
            self.bias = nn.Parameter(torch.zeros(60))

        def forward(self, x):
            return F.linear(torch.tanh(self.up(self.table(x))), self.table.weight, self.bias)

    torch.manual_seed(0)
    module, x = Tied(), torch.randint(60, (64,))
    initialise_(module, "fanin", sample=x)
    assert diagnose(module, x, x.roll(1)).verdict == "good"
    nn.init.normal_(module.table.weight)
    report = diagnose(module, x, x.roll(1))
    assert report.check("logits").verdict != "good"
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("table.weight", "scale")


def test_frequencies_are_drawn_for_the_constant_that_follows():
    class Sines(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = (
                nn.Linear(2, 64),
                nn.Linear(64, 64),
                nn.Linear(64, 1),
            )

        def forward(self, x):
            return self.last(torch.sin(30 * self.second(torch.sin(30 * self.first(x)))))

    torch.manual_seed(0)
    module, x = Sines(), torch.rand(256, 2) * 2 - 1
    initialise_(module, "fanin", sample=x)
    assert diagnose(module, x, torch.randn(256, 1), "mse").check("gain").verdict == "good"


def test_a_weight_that_is_called_twice_is_scaled_once():
    shared = nn.Linear(12, 12)
    twice = [nn.Linear(6, 12), nn.Tanh(), shared, nn.Tanh(), shared, nn.Tanh()]
    module = nn.Sequential(*twice, nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))
    x = torch.randn(64, 6)
    done = initialise_(module, "lsuv", sample=x)
    assert len(done) == 8
    found = diagnose(module, x, loss=None).recording
    assert found.layer("2").preactivation.second_moment == pytest.approx(1.0, rel=5e-3)
    # What comes after the second call reads what the scaled weight gave.
    assert found.layer("6").preactivation.second_moment == pytest.approx(1.0, rel=5e-3)


def test_residual_branches_are_scaled_and_zero_ones_stay():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.into, self.out = nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return x + self.out(F.gelu(self.into(self.norm(x))))

    module = nn.Sequential(nn.Linear(6, 64), Block(), Block(), nn.Linear(64, 3))
    nn.init.zeros_(module[2].out.weight)
    done = {each.parameter: each for each in initialise_(module, "fanin", sample=torch.randn(9, 6))}
    assert done["1.out.weight"].scale == pytest.approx(1.53353 / 8 / math.sqrt(2), rel=1e-4)
    assert done["1.into.weight"].scale == pytest.approx(1 / 8)
    assert not module[2].out.weight.any()
    assert "begin with nothing" in done["2.out.weight"].what


def test_padding_rows_stay_zero_and_tied_weights_are_the_output_s():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 64, padding_idx=0)
            self.rnn, self.head = nn.GRU(64, 64, batch_first=True), nn.Linear(64, 11, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(self.rnn(self.embedding(x))[0])

    module = Tied()
    symbols = torch.randint(11, (16, 5))
    done = {each.parameter: each for each in initialise_(module, "fanin", sample=symbols)}
    assert done["embedding.weight"].scale == pytest.approx(0.1 / 8)
    assert not module.embedding.weight[0].any()
    assert "gates" in done["rnn.weight_ih_l0"].what


def test_a_generator_gives_the_same_again_and_the_random_state_is_used_only_for_drawing():
    def weights(**settings):
        module = Model()
        initialise_(module, sample=X, **settings)
        return module.hidden.weight

    state = torch.get_rng_state()
    one, other = (weights(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    torch.set_rng_state(state)
    Model()
    drawn = torch.get_rng_state()
    torch.set_rng_state(state)
    weights(generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), drawn)


def test_what_cannot_be_is_said():
    with pytest.raises(OptionError, match="'kaiming' is not known"):
        initialise_(Model(), "kaiming", sample=X)
    with pytest.raises(OptionError, match=r"up: a critical gain|hidden: a critical gain"):
        initialise_(Model(), "critical:bias_variance=9", sample=X)
