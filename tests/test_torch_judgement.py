"""What is no fault, and what is one in disguise."""

import copy
import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose, signals


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


X, Y = drawn(512, 16), torch.arange(512) % 5
PICTURES, LABELS = drawn(32, 3, 12, 12), torch.arange(32) % 5
SYMBOLS = torch.randint(50, (16, 24), generator=torch.Generator().manual_seed(0))


def mlp(depth=3, act=nn.ReLU, width=64, out=5):
    layers = [nn.Linear(16, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, out))


class Adapted(nn.Module):
    """A frozen layer with a low-rank way round, which begins with nothing."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(4, linear.in_features) / 4)
        self.b = nn.Parameter(torch.zeros(linear.out_features, 4))

    def forward(self, x):
        return self.linear(x) + F.linear(F.linear(x, self.a), self.b)


class Basic(nn.Module):
    def __init__(self, width, gamma):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.constant_(self.bn2.weight, gamma)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def resnet(gamma=1.0, width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        *(Basic(width, gamma) for _ in range(4)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, width, std):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for each in self.parameters():
            if each.ndim > 1:
                nn.init.normal_(each, std=std)

    def forward(self, x, mask):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class GPT(nn.Module):
    """Embeddings at 0.02, tied, and a mask of −∞."""

    def __init__(self, blocks=4, width=64, std=0.02):
        super().__init__()
        self.embedding, self.position = nn.Embedding(50, width), nn.Embedding(64, width)
        self.blocks = nn.ModuleList(Block(width, std) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)
        self.head.weight = self.embedding.weight
        for each in (self.embedding, self.position):
            nn.init.normal_(each.weight, std=0.02)

    def forward(self, x):
        length = x.shape[1]
        x = self.embedding(x) + self.position(torch.arange(length))
        mask = torch.full((length, length), -math.inf).triu(1)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


class Clones(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.embedding, self.head = nn.Embedding(50, 64), nn.Linear(64, 50)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.encoder(self.embedding(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(16, 32, 2, batch_first=True), nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def zero(tensor):
    with torch.no_grad():
        tensor.zero_()


def zero_head():
    module = mlp()
    zero(module[-1].weight), zero(module[-1].bias)
    return diagnose(module, X, Y)


def low_rank_factors():
    module = mlp()
    for place in (0, 2, 4, 6):
        module[place] = Adapted(module[place])
    return diagnose(module, X, Y)


def residual_gammas():
    return diagnose(resnet(0.0), PICTURES, LABELS)


def zero_last_convolutions():
    module = resnet()
    for each in module.modules():
        if isinstance(each, Basic):
            zero(each.conv2.weight)
    return diagnose(module, PICTURES, LABELS)


def infinite_mask_and_small_tied_embeddings():
    return diagnose(GPT(), SYMBOLS, SYMBOLS)


def the_same_in_evaluation():
    return diagnose(GPT().eval(), SYMBOLS, SYMBOLS)


def large_weights_before_normalisation():
    module = nn.Sequential(
        nn.Linear(16, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64),
        nn.ReLU(), nn.Linear(64, 5),
    )  # fmt: skip
    with torch.no_grad():
        module[3].weight.mul_(20.0)
    return diagnose(module, X, Y)


def a_few_relus_off_on_a_small_batch():
    return diagnose(mlp(), X[:8], Y[:8])


def steps_of_a_state_space_model():
    module = nn.Sequential(nn.Linear(16, 64), nn.Softplus(), nn.Linear(64, 5))
    nn.init.constant_(module[0].bias, -5.0)
    return diagnose(module, X, Y)


def a_recurrent_network():
    return diagnose(Recurrent(), drawn(64, 9, 16), Y[:64])


def strong_dropout():
    module = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.8), nn.Linear(64, 64), nn.ReLU(),
        nn.Dropout(0.8), nn.Linear(64, 5),
    )  # fmt: skip
    return diagnose(module, X, Y)


HEALTHY = [
    zero_head, low_rank_factors, residual_gammas, zero_last_convolutions,
    infinite_mask_and_small_tied_embeddings, the_same_in_evaluation,
    large_weights_before_normalisation, a_few_relus_off_on_a_small_batch,
    steps_of_a_state_space_model, a_recurrent_network, strong_dropout,
]  # fmt: skip


@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: make.__name__)
def test_what_is_no_fault_is_none(make):
    torch.manual_seed(0)
    report = make()
    assert report.verdict == "good", report.checks[0].text


def zero_hidden_layer():
    module = mlp()
    zero(module[2].weight)
    return diagnose(module, X, Y), {"examples": ("2",), "gradients": ("2",)}


def all_zero():
    module = mlp()
    for each in module.parameters():
        zero(each)
    return diagnose(module, X, Y), {"symmetry": ("0", "2", "4")}


def spread_that_dies_behind_biases():
    module = mlp(6, nn.Tanh)
    with torch.no_grad():
        for place in (2, 4, 6, 8, 10):
            module[place].weight.mul_(0.05)
            nn.init.normal_(module[place].bias)
    report = diagnose(module, X, Y)
    # The moment itself looks well.
    assert 0.5 < report.recording.layer("10").preactivation.second_moment < 2.0
    return report, {"examples": None, "gain": ("2", "4", "6", "8", "10")}


def a_buffer_that_vanishes():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 5)
            self.register_buffer("scale", torch.full((64,), 1e-8))

        def forward(self, x):
            return self.c(torch.tanh(self.b(torch.tanh(self.a(x)) * self.scale)))

    return diagnose(Scaled(), X, Y), {"gradients": ("b",), "examples": ("b",)}


def queries_in_a_fused_projection():
    module = GPT()
    with torch.no_grad():
        module.blocks[1].attention.in_proj_weight[:64] *= 1_000
    return diagnose(module, SYMBOLS, SYMBOLS), {"attention": ("blocks.1.attention.in_proj",)}


def wide_gates():
    module = Recurrent()
    with torch.no_grad():
        for each in module.rnn.parameters():
            each.mul_(100.0)
    return diagnose(module, drawn(64, 9, 16), Y[:64]), {"gain": ("rnn",)}


FAULTS = [
    zero_hidden_layer, all_zero, spread_that_dies_behind_biases, a_buffer_that_vanishes,
    queries_in_a_fused_projection, wide_gates,
]  # fmt: skip


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_what_is_one_is_named(make):
    torch.manual_seed(0)
    report, wanted = make()
    assert report.verdict == "bad"
    for name, layers in wanted.items():
        check = report.check(name)
        assert check.verdict != "good"
        assert layers is None or check.layers == layers


def test_equal_biases_of_layers_whose_weights_differ_are_good():
    torch.manual_seed(0)
    module = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
    assert torch.equal(module.encoder.layers[0].linear1.bias, module.encoder.layers[1].linear1.bias)
    assert diagnose(module, (drawn(16, 5, 32), drawn(16, 6, 32))).verdict == "good"


def test_the_clones_of_an_encoder_start_equal_and_are_set_apart():
    torch.manual_seed(0)
    report = diagnose(Clones(), SYMBOLS, SYMBOLS)
    assert [check.name for check in report.checks if check.verdict != "good"] == ["streams"]
    assert {each.action for each in report.prescriptions} == {"shuffle"}
    fixed = report.fixed()
    assert report.after.verdict == "good"
    one, other = (fixed.encoder.layers[place].linear1.weight for place in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)


def test_one_example_alone_cannot_differ_and_the_same_ones_are_the_batchs_doing():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 4))
    with torch.no_grad():
        module[2].weight.mul_(0.1)
    x, y = torch.randn(1, 6), torch.zeros(1, dtype=torch.long)
    assert diagnose(module, x, y).verdict == "good"
    found = diagnose(module, x.repeat(64, 1), y.repeat(64)).check("examples")
    assert found.verdict == "bad"
    assert not found.layers
    assert "inputs themselves" in found.text


def test_zeros_in_half_precision_and_complex_parameters_are_looked_into():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = nn.Parameter(torch.ones(5, dtype=torch.cfloat))
            self.output = nn.Linear(8, 4)

        def forward(self, x):
            return self.output(torch.fft.irfft(torch.fft.rfft(x) * self.scales, n=8))

    x, y = torch.randn(64, 8), torch.randint(4, (64,))
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).bfloat16()
    nn.init.zeros_(module[2].weight)
    assert diagnose(module, x.bfloat16(), y).verdict == "good"
    own = diagnose(Mixing(), x, y).recording.parameters
    (scales,) = [each for each in own if each.name == "scales"]
    assert scales.data.second_moment == pytest.approx(0.5)
    assert scales.gradient.second_moment > 0.0


def test_logits_over_a_large_vocabulary_are_measured_on_some_rows():
    module, x = nn.Linear(4, 100_000), torch.randn(512, 4)
    (layer,) = diagnose(module, x, torch.randint(100_000, (512,))).recording.layers
    assert layer.preactivation.size == 512 * 100_000
    assert layer.preactivation.largest == float(module(x).detach().abs().max())
    assert len(signals.table(torch.empty(512, 100_000), 1)) == signals.FEWEST


def test_where_all_inputs_are_the_same_no_layer_is_blamed():
    report = diagnose(mlp(), torch.zeros_like(X), Y)
    assert [check.name for check in report.checks if check.verdict != "good"] == ["examples"]
    assert report.check("examples").layers == ()
    assert "inputs themselves" in report.check("examples").text


class LateValues(nn.Module):
    """Attention by hand, whose values are made only after the softmax."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        return (self.q(x) @ self.k(x).mT / 4).softmax(-1) @ self.v(x)


def test_attention_may_make_its_values_after_its_weights():
    report = diagnose(
        nn.Sequential(LateValues(), nn.Linear(16, 5)),
        drawn(32, 8, 16),
        Y[:32, None] + torch.zeros(32, 8).long(),
    )
    assert report.verdict == "good"
    names = [layer.name for layer in report.layers]
    assert names.index("0.v") < names.index("0:softmax")


class Rotated(nn.Module):
    """Attention whose queries and keys are turned by their positions, as in Llama."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        angle = torch.arange(8)[:, None] / 10 ** torch.arange(16)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def turned(self, x):
        return x * self.cos + x.roll(8, -1) * self.sin

    def forward(self, x):
        query, key, value = self.turned(self.q(x)), self.turned(self.k(x)), self.v(x)
        return x + F.scaled_dot_product_attention(query, key, value)


@pytest.mark.parametrize("name", ["q", "k"])
def test_saturated_attention_is_blamed_on_the_weights_that_made_it_so(name):
    module = nn.Sequential(Rotated(), nn.Linear(16, 5))
    with torch.no_grad():
        getattr(module[0], name).weight.mul_(300)
    report = diagnose(module, drawn(32, 8, 16), torch.zeros(32, 8).long())
    assert report.check("attention").layers == (f"0.{name}",)
    (change,) = report.prescriptions
    assert change.number < 0.1
    assert report.fix_().check("attention").verdict == "good"


class Branch(nn.Module):
    """x + b(relu(a(x))), of which b begins with zeros."""

    def __init__(self, width=64):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.b.weight)
        nn.init.zeros_(self.b.bias)

    def forward(self, x):
        return x + self.b(F.relu(self.a(x)))


class Conditioned(nn.Module):
    """DiT's block: shift, scale and gate come from one layer of zeros."""

    def __init__(self, width=16):
        super().__init__()
        self.norm, self.make = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.branch = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        nn.init.zeros_(self.make.weight)
        nn.init.zeros_(self.make.bias)

    def forward(self, x):
        shift, scale, gate = self.make(F.silu(x)).chunk(3, -1)
        return x + gate * self.branch(self.norm(x) * (1 + scale) + shift)


def test_zeros_that_the_gradient_has_yet_to_reach_are_no_copies():
    module = nn.Sequential(
        nn.Linear(16, 64), Branch(), Branch(), nn.LayerNorm(64), nn.Linear(64, 5)
    )
    nn.init.zeros_(module[-1].weight)
    assert diagnose(module, X, Y).verdict == "good"
    for head in (1.0, 0.0):
        module = nn.Sequential(*(Conditioned() for _ in range(3)), nn.Linear(16, 5))
        with torch.no_grad():
            module[-1].weight.mul_(head)
        assert diagnose(module, X, Y).verdict == "good"


class Stuck(nn.Module):
    """A way round of two zeros, which no gradient will ever open."""

    def __init__(self):
        super().__init__()
        self.linear, self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 4), nn.Linear(4, 64)
        for each in (self.a, self.b):
            nn.init.zeros_(each.weight)
            nn.init.zeros_(each.bias)

    def forward(self, x):
        return self.linear(x) + self.b(self.a(x))


def test_two_zeros_in_a_row_stay_what_they_are_and_are_named():
    report = diagnose(nn.Sequential(nn.Linear(16, 64), nn.ReLU(), Stuck(), nn.Linear(64, 5)), X, Y)
    assert report.verdict == "bad"
    assert {"2.a", "2.b"} & set(report.check("symmetry").layers)


class Target(nn.Module):
    """A network with a frozen copy of itself, as in BYOL or DQN."""

    def __init__(self):
        super().__init__()
        self.online, self.target = nn.Linear(16, 64), nn.Linear(16, 64)
        self.target.load_state_dict(self.online.state_dict())
        self.target.requires_grad_(False)
        self.head = nn.Linear(64, 64)

    def forward(self, x):
        return self.head(torch.relu(self.online(x))), torch.relu(self.target(x + 0.1)).detach()


def test_a_frozen_copy_is_meant():
    report = diagnose(Target(), X, loss=lambda out, _: F.mse_loss(*out))
    assert report.check("streams").verdict == "good"


def test_biases_of_one_value_here_and_there_were_not_drawn():
    module = nn.LSTM(16, 64, 2, batch_first=True)
    with torch.no_grad():
        for name, each in module.named_parameters():
            if "bias" in name:
                each[64:128] = 1.0
    assert diagnose(module, drawn(32, 6, 16)).check("streams").verdict == "good"


def test_a_summed_loss_is_not_held_against_a_mean():
    report = diagnose(mlp(), X, Y, loss=nn.CrossEntropyLoss(reduction="sum"))
    assert report.verdict == "good"
    assert report.recording.loss.kind == "the sum of CrossEntropyLoss"


class Forces(nn.Module):
    """Minus the gradient of an energy."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(
            nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, x):
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


def test_a_backward_pass_within_the_forward_one_makes_no_layers():
    report = diagnose(Forces(), X, drawn(512, 16), loss="mse")
    assert report.verdict == "good"
    assert {layer.name for layer in report.layers} == {f"energy.{place}" for place in range(5)}
    assert any("backward pass of its own" in said for said in report.recording.not_seen)


class Siren(nn.Module):
    """Sitzmann et al. 2020: sin(30 z), and weights that are smaller by that."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 if place == 0 else 256, 256) for place in range(4))
        self.head = nn.Linear(256, 1)
        with torch.no_grad():
            self.layers[0].weight.uniform_(-1 / 2, 1 / 2)
            for layer in (*self.layers[1:], self.head):
                bound = math.sqrt(6 / 256) / 30
                layer.weight.uniform_(-bound, bound)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


def test_a_constant_between_a_layer_and_its_activation_counts():
    torch.manual_seed(0)
    module, places = Siren(), torch.rand(1024, 2) * 2 - 1
    wanted = torch.sin(5 * places[:, :1]) * places[:, 1:]
    report = diagnose(module, places, wanted, loss="mse")
    assert report.verdict == "good"
    layer = report.recording.layer("layers.2")
    assert layer.factor == 30.0
    assert layer.gain == pytest.approx(math.sqrt(2), rel=0.02)
    assert 1.0 < layer.preactivation.std < 2.0  # biases within 30/16 come to it

    with torch.no_grad():
        module.layers[2].weight.mul_(20)
    report = diagnose(module, places, wanted, loss="mse")
    assert report.verdict == "bad"
    (prescription,) = report.prescriptions
    assert prescription.parameter == "layers.2.weight"
    assert "by the 30 that follows" in prescription.change
    std = report.fixed(module).layers[2].weight.detach().std()
    assert std == pytest.approx(1.52 / 16 / 30, rel=0.01)


class Multiplied(nn.Module):
    """A weight that is kept with a deviation of 1, and multiplied when it is used."""

    def __init__(self, fan_in, units, size):
        super().__init__()
        self.kept = nn.Parameter(size * torch.randn(units, fan_in))
        self.constant = fan_in**-0.5

    def forward(self, x):
        return F.linear(x, self.kept * self.constant)


@pytest.mark.parametrize("kind", ["weight norm", "multiplied"])
def test_what_a_weight_is_a_multiple_of_can_be_mended(kind):
    torch.manual_seed(0)
    if kind == "multiplied":
        wide, parameter = Multiplied(64, 64, 30.0), "2.kept"
    else:
        wide = nn.utils.parametrizations.weight_norm(nn.Linear(64, 64))
        parameter = "2.parametrizations.weight.original0"
        wide.parametrizations.weight.original0.data.mul_(50)
    module = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), wide, nn.Tanh(), nn.Linear(64, 5))
    report = diagnose(module, X, Y)
    assert report.verdict == "bad"
    assert [each.parameter for each in report.prescriptions] == [parameter]
    assert diagnose(report.fixed(module), X, Y).verdict == "good"


class Towers(nn.Module):
    def __init__(self, joined):
        super().__init__()
        self.one, self.other = mlp(3, nn.Tanh, out=32), mlp(3, nn.Tanh, out=32)
        self.head = nn.Linear(64 if joined == "beside" else 32, 5)
        self.joined = joined

    def forward(self, x):
        one, other = self.one(x), self.other(x)
        if self.joined == "beside":
            return self.head(torch.cat((one, other), 1))
        return self.head(one * other if self.joined == "multiplied" else one + other)


@pytest.mark.parametrize(
    ("joined", "verdict"), [("beside", "bad"), ("multiplied", "bad"), ("added", "good")]
)
def test_a_tower_that_died_beside_another_is_found(joined, verdict):
    torch.manual_seed(0)
    module = Towers(joined)
    assert diagnose(module, X, Y).verdict == "good"
    with torch.no_grad():
        for parameter in module.one.parameters():
            parameter.mul_(0.03)
    report = diagnose(module, X, Y)
    assert report.verdict == verdict
    assert all(name.startswith("one.") for name in report.check("gain").layers)


class Gated(nn.Module):
    def __init__(self, kind, gate):
        super().__init__()
        self.recurrent, self.head = kind(16, 64, batch_first=True), nn.Linear(64, 5)
        with torch.no_grad():
            for number, bias in gate.items():
                self.recurrent.bias_ih_l0[64 * number : 64 * (number + 1)] = bias

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


@pytest.mark.parametrize(
    ("kind", "gate"),
    [(nn.LSTM, {}), (nn.LSTM, {1: 1.0}), (nn.LSTM, {3: -20.0}), (nn.GRU, {}), (nn.GRU, {1: 20.0})],
)
def test_a_gate_that_lets_nothing_out_is_opened(kind, gate):
    torch.manual_seed(0)
    module, x, y = Gated(kind, gate), drawn(64, 10, 16), Y[:64]
    report = diagnose(module, x, y)
    shut = any(abs(bias) > 10 for bias in gate.values())
    assert report.verdict == ("bad" if shut else "good")
    if shut:
        assert report.check("dead units").layers == ("recurrent",)
        assert [each.parameter for each in report.prescriptions] == ["recurrent.bias_ih_l0"]
        assert diagnose(report.fixed(module), x, y).verdict == "good"


class Finer(nn.Module):
    """Pictures of twice the size, by kernels that are equal for pixels side by side (ICNR)."""

    def __init__(self, first):
        super().__init__()
        self.up, self.head = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.first = first
        with torch.no_grad():
            self.up.weight.copy_((torch.randn(16, 3, 3, 3) / 27**0.5).repeat_interleave(4, 0))
            self.up.bias.zero_()

    def forward(self, x):
        if self.first == "relu":
            return self.head(F.pixel_shuffle(F.relu(self.up(x)), 2))
        return self.head(F.relu(F.pixel_shuffle(self.up(x), 2)))


@pytest.mark.parametrize("first", ["relu", "shuffle"])
def test_equal_kernels_for_pixels_side_by_side_are_meant(first):
    torch.manual_seed(0)
    report = diagnose(Finer(first), PICTURES, drawn(32, 3, 24, 24), loss="mse")
    assert report.verdict == "good"


def started(module, output):
    for each in module.modules():
        if isinstance(each, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(each.weight)
    nn.init.normal_(output.weight, std=0.01)
    nn.init.zeros_(output.bias)
    return module


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
def test_inputs_that_are_too_large_are_named_and_no_layer(act):
    torch.manual_seed(0)
    module = mlp(act=act)
    started(module, module[-1])
    report = diagnose(module, X * 50 + 128, Y)
    assert report.verdict == "bad"
    check = report.check("input scale")
    assert check.verdict == "bad"
    assert "have a mean of 128 and a standard deviation of 50" in check.text
    assert all(not each.layers for each in report.checks if each.verdict != "good")
    assert not report.prescriptions
    assert diagnose(module, X, Y).verdict == "good"
    # Weights that make up for it leave nothing to say.
    with torch.no_grad():
        module[0].weight.mul_(1 / 200)
    assert diagnose(module, X * 200, Y).verdict == "good"


SMALL = {"small": lambda x: 1e-4 * x, "far from zero": lambda x: 0.01 * x + 1}


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("change", SMALL.values(), ids=SMALL)
def test_inputs_that_biases_drown_are_named_and_no_layer(change, act):
    torch.manual_seed(0)
    module = mlp(act=act)
    for each in (module[0], module[2], module[4]):
        nn.init.kaiming_normal_(each.weight, nonlinearity="tanh")
    x = change(X)
    report = diagnose(module, x, Y)
    assert report.verdict != "good"
    assert not report.prescriptions, report
    assert all(not each.layers for each in report.checks if each.verdict != "good")
    said = f"have a mean of {x.mean():.3g} and a standard deviation of {x.std(correction=0):.3g}"
    assert said in report.check("examples").text
    assert diagnose(module, X, Y).verdict == "good"


def test_small_inputs_that_do_no_harm_are_good():
    torch.manual_seed(0)
    module = mlp()
    with torch.no_grad():
        module[0].weight.mul_(1e4)
        module[0].bias.zero_()
    assert diagnose(module, 1e-4 * X, Y).check("input scale").verdict == "good"
    # One of a thousand classes, in a table.
    one = F.one_hot(torch.arange(512) % 1_000, 1_000).float()
    table = nn.Sequential(nn.Linear(1_000, 64), nn.ReLU(), nn.Linear(64, 5))
    assert diagnose(table, one, Y).check("input scale").verdict == "good"
    wave = nn.Sequential(
        nn.Linear(16, 64, bias=False), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 5)
    )
    assert diagnose(wave, 0.01 * X, Y).verdict == "good"


def normalised(act=nn.ReLU):
    """Three convolutions, their running statistics those of PICTURES."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for _ in range(3):
        layers += [nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), act()]
        channels = 16
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    started(module, module[-1])
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.momentum = 1.0
    with torch.no_grad():
        module(PICTURES)
    return module.eval()


OTHER_DATA = {
    "a variance that is too small": lambda norm: norm.running_var.fill_(1e-6),
    "a variance that is too large": lambda norm: norm.running_var.mul_(1e4),
    "a mean that is too low": lambda norm: norm.running_mean.sub_(30.0),
    "a mean that is too high": lambda norm: norm.running_mean.add_(30.0),
    "means of anything": lambda norm: norm.running_mean.copy_(drawn(16) * 10),
    "neither is a number": lambda norm: (
        norm.running_mean.fill_(torch.nan),
        norm.running_var.fill_(torch.nan),
    ),
}


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("spoil", OTHER_DATA.values(), ids=OTHER_DATA)
def test_running_statistics_of_other_data_are_named_and_measured_anew(spoil, act):
    module = normalised(act)
    assert diagnose(module, PICTURES, LABELS).verdict == "good"
    spoil(module[4])
    report = diagnose(module, PICTURES, LABELS)
    assert report.verdict != "good"
    assert {name for each in report.checks for name in each.layers} == {"3"}
    asked = [(each.parameter, each.action) for each in report.prescriptions]
    assert asked == [("4.running_mean", "draw"), ("4.running_var", "draw")]
    by_code = copy.deepcopy(module)
    for each in report.prescriptions:
        exec(each.code, {"module": by_code, "inputs": PICTURES})
    fixed = report.fixed(module)
    for own in ("running_mean", "running_var"):
        assert torch.equal(getattr(fixed[4], own), getattr(by_code[4], own))
    assert report.after.verdict == "good"
    assert report.after.check("running statistics").value < 1.5
    # While it trains they are not used, if they are numbers.
    if torch.isfinite(module[4].running_mean).all():
        assert diagnose(module.train(), PICTURES, LABELS).check("finite").verdict == "good"


def test_statistics_that_no_batch_has_gone_into_are_told_of_as_such():
    torch.manual_seed(0)
    layers = [[nn.Conv2d(c, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()] for c in (3, 16, 16)]
    flat = [each for some in layers for each in some]
    module = nn.Sequential(*flat, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    assert diagnose(module, PICTURES, LABELS).verdict == "good"
    check = diagnose(module.eval(), PICTURES, LABELS).check("running statistics")
    assert check.verdict == "suspect"
    assert "of 4 are 0 and 1, as they begin" in check.text
    assert "In training mode it uses the batch's own." in check.text


def test_inputs_that_running_statistics_do_not_fit_are_told_of():
    module = normalised()
    report = diagnose(module, PICTURES * 60 + 128, LABELS)
    check = report.check("running statistics")
    assert check.layers == ("0",)
    assert "The network's inputs have a mean of 12" in check.text


def test_statistics_that_a_module_uses_in_its_own_way_begin_anew():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.Linear(16, 64), nn.Linear(64, 5)
            self.register_buffer("running_mean", torch.zeros(64))
            self.register_buffer("running_var", torch.full((64,), 1e-8))

        def forward(self, x):
            x = F.batch_norm(self.up(x), self.running_mean, self.running_var)
            return self.head(torch.tanh(x))

    torch.manual_seed(0)
    module = Own()
    report = diagnose(module, X, Y)
    assert report.check("running statistics").layers == ("up",)
    by_code = copy.deepcopy(module)
    for each in report.prescriptions:
        exec(each.code, {"module": by_code, "inputs": X})
    assert torch.equal(by_code.running_var, torch.ones(64))
    assert torch.equal(report.fixed(module).running_var, by_code.running_var)


def test_both_matrices_of_a_recurrent_layer_are_mended():
    torch.manual_seed(0)
    module = Gated(nn.GRU, {})
    for own in ("ih", "hh"):
        nn.init.normal_(module.get_parameter(f"recurrent.weight_{own}_l0"), std=3.0)
    report = diagnose(module, drawn(64, 10, 16), Y[:64])
    assert {each.parameter for each in report.prescriptions} == {
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
    }
    assert diagnose(report.fixed(module), drawn(64, 10, 16), Y[:64]).verdict == "good"


class Placed(nn.Module):
    """Two tables of sines that are learnt."""

    def __init__(self):
        super().__init__()
        angles = torch.arange(50)[:, None] * torch.exp(torch.arange(0, 32, 2) * -0.29)
        table = 0.02 * torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
        self.one, self.other = nn.Parameter(table), nn.Parameter(table[:40].clone())
        self.symbols, self.head = nn.Embedding(50, 32), nn.Linear(32, 5)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x):
        places = self.one[: x.shape[1]] + self.other[: x.shape[1]]
        return self.head(torch.tanh(self.symbols(x) + places).mean(1))


def test_tables_of_sines_are_no_copies_of_one_another():
    torch.manual_seed(0)
    assert diagnose(Placed(), SYMBOLS, Y[:16]).check("streams").verdict == "good"


class TimesThirty(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(16, 64), nn.Linear(64, 5)

    def forward(self, x):
        return 30 * self.head(torch.tanh(self.hidden(x)))


def test_a_constant_after_the_output_layer_counts():
    torch.manual_seed(0)
    module = TimesThirty()
    report = diagnose(module, X, Y)
    assert report.verdict == "bad"
    (asked,) = report.prescriptions
    assert asked.parameter == "head.weight"
    assert asked.change.endswith("= 0.1/√64, by the 30 that follows")
    assert diagnose(report.fixed(module), X, Y).verdict == "good"


class Pooled(nn.Module):
    """Attention with weights of two axes."""

    def __init__(self):
        super().__init__()
        self.keys, self.score, self.head = nn.Linear(16, 32), nn.Linear(32, 1), nn.Linear(32, 5)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x):
        keys = torch.tanh(self.keys(x))
        weights = self.score(keys).squeeze(-1).softmax(-1)
        return self.head(torch.bmm(weights[:, None], keys).squeeze(1))


def test_attention_that_pools_is_seen():
    torch.manual_seed(0)
    report = diagnose(Pooled(), drawn(64, 10, 16), Y[:64])
    assert report.verdict == "good"
    assert any(layer.kind == "attention" for layer in report.recording.layers)


def test_the_first_diagnosis_of_a_process_says_what_the_second_does():
    program = """
import torch
from torch import nn
from fanin.torch import diagnose
torch.manual_seed(0)
module = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Mish(), nn.Linear(64, 5))
nn.init.constant_(module[1].bias, -60.0)
for _ in range(2):
    print(diagnose(module, torch.randn(64, 16), torch.arange(64) % 5).check("dead units").verdict)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["bad", "bad"], done.stderr


@pytest.mark.parametrize(
    ("clamped", "name"),
    [
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: torch.clip(x, 0, 6), "relu6"),
        (lambda x: x.clamp(max=2.0), "clamp(max=2)"),
        (lambda x: x.clamp(min=-1), "clamp(min=-1)"),
        (F.hardtanh, "hardtanh(-1, 1)"),
        (lambda x: x.clamp(-2, 1), "hardtanh(-2, 1)"),
    ],
)
def test_a_clamp_is_what_its_ends_make_it(clamped, name):
    class Clamped(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(16, 64), nn.Linear(64, 5)

        def forward(self, x):
            return self.head(clamped(self.hidden(x)))

    torch.manual_seed(0)
    assert diagnose(Clamped(), X, Y).recording.layer("hidden").nonlinearity == name


def test_inputs_that_are_not_finite_are_named():
    x = X.clone()
    x[3, 2] = math.nan
    report = diagnose(mlp(), x, Y)
    assert "the network's input has 1 of 8,192 values that are not finite" in report.checks[0].text
    assert report.checks[0].layers == ()


def equal_rows(module, layer=2, units=slice(None)):
    module[layer].weight[units] = module[layer].weight[:1].clone()


def constant_weights(module):
    module[2].weight.fill_(0.1)


@pytest.mark.parametrize("spoil", [equal_rows, constant_weights])
def test_units_with_equal_weights_look_one_way_whatever_their_biases_are(spoil):
    torch.manual_seed(0)
    module = mlp()
    started(module, module[-1])
    with torch.no_grad():
        spoil(module)
    report = diagnose(module, X, Y)
    assert report.verdict == "bad"
    assert report.check("symmetry").verdict == "bad"
    assert {name for each in report.checks for name in each.layers} == {"2"}
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("2.weight", "draw")
    report.fixed(module)
    assert report.after.verdict == "good"


class Warped(nn.Module):
    """A spatial transformer begins with the identity: weights of zero, and biases."""

    def __init__(self):
        super().__init__()
        self.see, self.say = nn.Conv2d(3, 8, 7), nn.Linear(8, 6)
        self.conv, self.head = nn.Conv2d(3, 16, 5), nn.Linear(16, 5)
        nn.init.zeros_(self.say.weight)
        self.say.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x):
        theta = self.say(F.relu(self.see(x)).mean((2, 3))).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False)
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


class Averaged(nn.Module):
    """Channels averaged one by one: their weights are equal, and their inputs are not."""

    def __init__(self):
        super().__init__()
        self.up, self.mean = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16)
        self.mix, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 5)
        nn.init.constant_(self.mean.weight, 1 / 9)

    def forward(self, x):
        x = self.mix(F.relu(self.mean(F.relu(self.up(x)))))
        return self.head(F.relu(x).mean((2, 3)))


class Hats(nn.Module):
    """Of one number, weights of 1 and other biases make other functions."""

    def __init__(self):
        super().__init__()
        self.knots, self.head = nn.Linear(1, 64), nn.Linear(64, 5)
        nn.init.ones_(self.knots.weight)
        self.knots.bias.data.copy_(torch.linspace(-2, 2, 64))

    def forward(self, x):
        return self.head(F.relu(self.knots(x[:, :1])))


@pytest.mark.parametrize("make", [Warped, Averaged, Hats])
def test_equal_weights_that_are_meant_are_good(make):
    torch.manual_seed(0)
    module = make()
    x = X if make is Hats else PICTURES
    report = diagnose(module, x, Y if make is Hats else LABELS)
    assert report.verdict == "good", report


@pytest.mark.parametrize("dead", [0, 1])
def test_a_low_rank_update_that_is_dead_among_others_that_live(dead):
    torch.manual_seed(0)
    adapted = [Adapted(nn.Linear(16, 64)), Adapted(nn.Linear(64, 64))]
    module = nn.Sequential(adapted[0], nn.ReLU(), adapted[1], nn.ReLU(), nn.Linear(64, 5))
    assert diagnose(module, X, Y).verdict == "good"
    nn.init.zeros_(adapted[dead].a)
    report = diagnose(module, X, Y)
    assert report.check("symmetry").verdict == "bad"
    assert report.check("symmetry").layers == (f"{2 * dead}.a", f"{2 * dead}.b")


@pytest.mark.parametrize(("depth", "act"), [(20, nn.ReLU), (30, nn.ReLU), (12, nn.Sigmoid)])
def test_what_dies_little_by_little_is_the_doing_of_every_layer(depth, act):
    torch.manual_seed(0)
    module = mlp(depth, act)
    report = diagnose(module, X, Y)
    assert report.check("gradients").layers == tuple(str(2 * each) for each in range(1, depth))
    if act is nn.ReLU:  # of sigmoids so many cannot be mended by their scale alone
        report.fixed(module)
        assert report.after.check("gradients").verdict == "good"
        assert report.after.check("examples").verdict == "good"


class Gate(nn.Module):
    """The two halves of one projection, the second of which lets the first through."""

    def __init__(self, gate):
        super().__init__()
        self.up, self.mid, self.head = nn.Linear(16, 128), nn.Linear(64, 64), nn.Linear(64, 5)
        self.gate = gate

    def forward(self, x):
        return self.head(F.relu(self.mid(self.gate(self.up(x)))))


def geglu(x):
    one, other = x.chunk(2, -1)
    return one * F.gelu(other)


@pytest.mark.parametrize("gate", [F.glu, nn.GLU(), geglu])
def test_a_gate_that_is_shut_in_a_fused_projection_is_found_and_opened(gate):
    torch.manual_seed(0)
    module = Gate(gate)
    assert diagnose(module, X, Y).verdict == "good"
    nn.init.constant_(module.up.bias[64:], -20.0)
    report = diagnose(module, X, Y)
    assert report.check("dead units").verdict == "bad"
    assert {each.parameter for each in report.prescriptions} == {"up.bias"}
    fixed = report.fixed(module)
    assert not fixed.up.bias[64:].any()
    assert report.after.verdict == "good"


def test_values_that_vanish_in_a_fused_projection_are_drawn_again():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.Linear(16, 32), nn.Linear(32, 5)
            self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

        def forward(self, x):
            x = self.up(x)
            return self.head(self.attention(x, x, x)[0].mean(1))

    torch.manual_seed(0)
    module = Mixed()
    nn.init.normal_(module.attention.in_proj_weight[64:], std=1e-5)
    report = diagnose(module, drawn(64, 6, 16), Y[:64])
    (asked,) = report.prescriptions
    assert (asked.action, asked.units) == ("draw", tuple(range(64, 96)))
    report.fixed(module)
    assert report.after.verdict == "good"


class Layers(nn.Module):
    def __init__(self, cell, both):
        super().__init__()
        self.table, self.head = nn.Embedding(30, 32), nn.Linear(128 if both else 64, 30)
        self.cell = cell(32, 64, 3, batch_first=True, bidirectional=both)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x):
        return self.head(self.cell(self.table(x))[0]).transpose(1, 2)


@pytest.mark.parametrize("shut", [0, 1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_gates_that_are_shut_in_any_of_several_recurrent_layers(cell, both, shut):
    torch.manual_seed(0)
    module = Layers(cell, both)
    symbols = torch.randint(30, (16, 12), generator=torch.Generator().manual_seed(1))
    assert diagnose(module, symbols, symbols.roll(1, 1)).verdict == "good"
    bias = module.get_parameter(f"cell.bias_ih_l{shut}")
    with torch.no_grad():  # an output gate that stays shut, or an update gate that keeps what is
        bias[192:] = -30.0
        if cell is nn.GRU:
            bias[64:128] = 30.0
    report = diagnose(module, symbols, symbols.roll(1, 1))
    assert report.check("dead units").verdict == "bad"
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == (f"cell.bias_ih_l{shut}", "zero")
    report.fixed(module)
    assert report.after.verdict == "good"


def test_a_bias_that_shuts_a_sum_is_mended_and_not_the_gains_of_zero_before_it():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 5)
            self.conv, self.norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x):
            x = F.relu(self.up(x))
            return self.head(F.relu(x + self.norm(self.conv(x))).mean((2, 3)))

    torch.manual_seed(0)
    module = Branch()
    assert diagnose(module, PICTURES, LABELS).verdict == "good"
    nn.init.constant_(module.norm.bias, -20.0)
    report = diagnose(module, PICTURES, LABELS)
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("norm.bias", "zero")
    report.fixed(module)
    assert report.after.verdict == "good"


def test_what_overflows_is_scaled():
    torch.manual_seed(0)
    module = mlp()
    nn.init.normal_(module[2].weight, std=1e4)
    report = diagnose(module.half(), X.half(), Y)
    assert report.check("finite").layers == ("2",)
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("2.weight", "scale")
    report.fixed(module)
    assert report.after.verdict == "good"


def test_a_loss_that_overflows_names_the_layer_that_is_too_wide():
    torch.manual_seed(0)
    module = mlp()
    nn.init.normal_(module[6].weight, std=1e4)
    report = diagnose(module, X, Y, loss=lambda output, _: output.exp().mean())
    assert report.check("finite").layers == ("6",)
    report.fixed(module)
    assert report.after.verdict == "good"


@pytest.mark.parametrize("width", [144, 768, 4096])
def test_many_rows_of_a_zero_factor_are_not_twins_by_chance(width):
    torch.manual_seed(0)
    linear = nn.Linear(16, width)
    module = nn.Sequential(Adapted(linear), nn.ReLU(), nn.Linear(width, 5))
    nn.init.normal_(module[2].weight, std=0.01)
    report = diagnose(module, X, Y)
    assert not [layer for layer in report.recording.layers if layer.twins]
    assert report.verdict == "good"


def test_a_table_of_zeros_that_learns_at_once_is_good():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.contexts = nn.Embedding(500, 64), nn.Embedding(500, 64)
            self.bias = nn.Embedding(500, 1)
            nn.init.normal_(self.words.weight, std=0.1)
            nn.init.zeros_(self.contexts.weight)
            nn.init.zeros_(self.bias.weight)

        def forward(self, word, context):
            product = (self.words(word) * self.contexts(context)).sum(-1)
            return product + self.bias(context).squeeze(-1)

    torch.manual_seed(0)
    given = (torch.randint(500, (256,)), torch.randint(500, (256,)))
    report = diagnose(Pairs(), given, (drawn(256) > 0).float(), "binary_cross_entropy")
    assert report.verdict == "good", report


INSIDE = {
    "divided": lambda x: x / 255.0,
    "standardised": lambda x: (x - x.mean(0)) / x.std(0),
    "to unit length": lambda x: 4 * F.normalize(x - 128, dim=-1),
    "logarithm": lambda x: torch.log1p(x.abs()) - 4.8,
}


@pytest.mark.parametrize("change", INSIDE.values(), ids=INSIDE)
def test_inputs_that_a_module_scales_itself_are_judged_as_its_first_layer_gets_them(change):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            return self.net(change(x))

    torch.manual_seed(0)
    module, x = Scaled(), X * 50 + 128
    assert diagnose(module, x, Y).verdict == "good"
    said = diagnose(module.net, x, Y).check("input scale")
    assert said.verdict == "bad"
    assert "The network's inputs have a mean of 128" in said.text


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_inputs_that_shut_and_open_every_gate_are_too_large(cell):
    torch.manual_seed(0)
    module = Gated(cell, {})
    x = drawn(64, 10, 16)
    assert diagnose(module, x, Y[:64]).verdict == "good"
    report = diagnose(module, 300 * x, Y[:64])
    assert report.check("input scale").verdict == "bad"
    assert not report.prescriptions


class Double(nn.Module):
    """Two towers side by side, as of two critics."""

    def __init__(self):
        super().__init__()
        self.one, self.other = mlp(2, out=1), mlp(2, out=1)

    def forward(self, x):
        return self.one(x), self.other(x)


def of_both(outputs, targets):
    return sum(F.mse_loss(each, targets) for each in outputs)


TOWER = {
    "a bias that drowns": ("0.bias", lambda p: p.fill_(100.0)),
    "equal units": ("0.weight", lambda p: p.copy_(p[:1].expand_as(p).clone())),
    "zeros": ("2.weight", lambda p: p.zero_()),
    "a wide hidden layer": ("2.weight", lambda p: p.mul_(100.0)),
}


@pytest.mark.parametrize("tower", ["one", "other"])
@pytest.mark.parametrize(("where", "spoil"), TOWER.values(), ids=TOWER)
def test_every_output_is_judged(where, spoil, tower):
    torch.manual_seed(0)
    module = Double()
    assert diagnose(module, X, drawn(512, 1), of_both).verdict == "good"
    with torch.no_grad():
        spoil(module.get_parameter(f"{tower}.{where}"))
    report = diagnose(module, X, drawn(512, 1), of_both)
    assert report.verdict != "good"
    named = {name for each in report.checks for name in each.layers}
    assert named == {f"{tower}.{where.partition('.')[0]}"}
    report.fixed(module)
    assert report.after.verdict == "good"


def test_the_second_of_two_outputs_may_begin_with_zeros():
    torch.manual_seed(0)
    module = Double()
    nn.init.zeros_(module.other[-1].weight)
    assert diagnose(module, X, drawn(512, 1), of_both).verdict == "good"


class Reader(nn.Module):
    """Residual blocks that read a stream, as of a transformer."""

    def __init__(self):
        super().__init__()
        self.up, self.head = nn.Linear(16, 48), nn.Linear(48, 5)
        self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(4))
        self.widen = nn.ModuleList(nn.Linear(48, 96) for _ in range(4))
        self.narrow = nn.ModuleList(nn.Linear(96, 48) for _ in range(4))

    def forward(self, x):
        x = self.up(x)
        for norm, widen, narrow in zip(self.norms, self.widen, self.narrow, strict=True):
            x = x + narrow(F.gelu(widen(norm(x))))
        return self.head(F.layer_norm(x, (48,)))


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("where", ["norms", "widen", "narrow"])
def test_a_branch_that_drowns_the_others_is_the_doing_of_its_own_layer(where, block):
    torch.manual_seed(0)
    module = Reader()
    assert diagnose(module, X, Y).verdict == "good"
    with torch.no_grad():
        getattr(module, where)[block].weight.mul_(300.0)
    report = diagnose(module, X, Y)
    check = report.check("stream")
    assert check.verdict != "good"
    assert check.layers == (f"{where}.{block}",)
    assert {each.parameter for each in report.prescriptions} == {f"{where}.{block}.weight"}
    assert all(each.number < 1 for each in report.prescriptions)
    report.fixed(module)
    assert report.after.verdict == "good"


class Looking(nn.Module):
    def __init__(self, fused, cross=False):
        super().__init__()
        self.up, self.head, self.cross = nn.Linear(16, 32), nn.Linear(32, 5), cross
        self.query, self.key, self.value = (nn.Linear(32, 32) for _ in range(3))
        self.all, self.fused = nn.MultiheadAttention(32, 4, batch_first=True), fused

    def forward(self, x):
        x = self.up(x)
        if self.fused:
            y = x.flip(1) + 0.0 if self.cross else x
            return self.head(self.all(x, y, y)[0].mean(1))
        x = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return self.head(x.mean(1))


@pytest.mark.parametrize(("fused", "cross"), [(True, False), (True, True), (False, False)])
def test_queries_and_keys_are_mended_together_and_values_are_left_alone(fused, cross):
    torch.manual_seed(0)
    module = Looking(fused, cross)
    with torch.no_grad():
        if fused:
            module.all.in_proj_weight[:64] *= 20.0
        else:
            module.query.weight *= 30.0
            module.key.weight *= 30.0
    x = drawn(64, 12, 16)
    report = diagnose(module, x, Y[:64])
    assert report.check("attention").verdict != "good"
    by_code, before = copy.deepcopy(module), module.all.in_proj_weight[64:].clone()
    fixed = report.fixed(module)
    assert torch.equal(fixed.all.in_proj_weight[64:], before)
    assert report.after.verdict == "good"
    for each in report.prescriptions:
        exec(each.code, {"module": by_code, "inputs": x})
    for one, other in zip(fixed.parameters(), by_code.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [100.0, 0.01])
@pytest.mark.parametrize("where", ["1.weight", "7.bias"])
def test_what_follows_a_normalisation_is_mended_there(where, value):
    torch.manual_seed(0)
    flat = [[nn.Linear(n, 64), nn.BatchNorm1d(64), nn.ReLU()] for n in (16, 64, 64)]
    module = nn.Sequential(*(each for some in flat for each in some), nn.Linear(64, 5))
    assert diagnose(module, X, Y).verdict == "good"
    with torch.no_grad():
        module.get_parameter(where).fill_(value)
    report = diagnose(module, X, Y)
    if report.verdict == "good":  # a small bias is none, and gains are taken out again
        assert value == 0.01
        return
    assert {each.parameter for each in report.prescriptions} == {where}
    report.fixed(module)
    assert report.after.verdict == "good"


def test_an_embedding_that_is_multiplied_before_attention_is_named_for_it():
    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(40, 64), nn.Linear(64, 40)
            self.body = nn.Transformer(64, 4, 1, 1, 128, batch_first=True)
            nn.init.normal_(self.head.weight, std=0.01)

        def forward(self, x):
            x = self.table(x) * 8.0
            return self.head(self.body(x, x)).transpose(1, 2)

    torch.manual_seed(0)
    symbols = torch.randint(40, (16, 12), generator=torch.Generator().manual_seed(1))
    module = Translator()
    report = diagnose(module, symbols, symbols.roll(1, 1))
    assert report.check("attention").layers == ("table",)
    (asked,) = report.prescriptions
    assert asked.parameter == "table.weight"
    assert asked.number == pytest.approx(1 / 8, rel=0.05)
    report.fixed(module)
    assert report.after.verdict == "good"


def test_a_last_hidden_state_comes_from_its_recurrent_layer():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRU(16, 32, batch_first=True), nn.Linear(32, 5)

        def forward(self, x):
            return self.head(self.cell(x)[1][-1])

    torch.manual_seed(0)
    module, x = Last(), drawn(64, 10, 16)
    assert diagnose(module, x, Y[:64]).verdict == "good"
    nn.init.constant_(module.cell.bias_ih_l0, -10.0)
    report = diagnose(module, x, Y[:64])
    assert report.check("examples").layers == ("cell",)
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("cell.bias_ih_l0", "zero")
    report.fixed(module)
    assert report.after.verdict == "good"


def test_an_embedding_so_small_that_biases_drown_it_is_named():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.net = nn.Embedding(40, 16), mlp()

        def forward(self, x):
            return self.net(self.table(x))

    torch.manual_seed(0)
    module, symbols = Bag(), torch.randint(40, (512,))
    assert diagnose(module, symbols, symbols % 5).verdict == "good"
    with torch.no_grad():
        module.table.weight.mul_(1e-4)
    report = diagnose(module, symbols, symbols % 5)
    assert report.check("examples").layers == ("table",)
    assert "table.weight" in {each.parameter for each in report.prescriptions}
    report.fixed(module)
    assert report.after.verdict == "good"


def test_weights_that_a_constant_follows_are_drawn_for_it():
    class Sines(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = (
                nn.Linear(16, 64),
                nn.Linear(64, 64),
                nn.Linear(64, 5),
            )
            for each in (self.second, self.last):
                nn.init.uniform_(each.weight, -((6 / 64) ** 0.5) / 30, (6 / 64) ** 0.5 / 30)

        def forward(self, x):
            return self.last(torch.sin(30 * self.second(torch.sin(self.first(x)))))

    torch.manual_seed(0)
    module = Sines()
    assert diagnose(module, X, Y).verdict == "good"
    nn.init.zeros_(module.second.weight)
    report = diagnose(module, X, Y)
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("second.weight", "draw")
    assert asked.number == pytest.approx(1 / 30, rel=1e-3)
    by_code = copy.deepcopy(module)
    exec(asked.code, {"module": by_code})
    assert torch.equal(report.fixed(module).second.weight, by_code.second.weight)
    assert report.after.verdict == "good"


@pytest.mark.parametrize("where", ["0.weight", "3.weight"])
def test_zeros_before_a_normalisation_are_drawn_again(where):
    torch.manual_seed(0)
    flat = [[nn.Linear(n, 64), nn.BatchNorm1d(64), nn.ReLU()] for n in (16, 64, 64)]
    module = nn.Sequential(*(each for some in flat for each in some), nn.Linear(64, 5))
    nn.init.zeros_(module.get_parameter(where))
    report = diagnose(module, X, Y)
    assert report.verdict == "bad"
    assert {each.parameter for each in report.prescriptions} == {where}
    report.fixed(module)
    assert report.after.verdict == "good"


@pytest.mark.parametrize("mask", [-math.inf, -1e9])
def test_classes_that_are_ruled_out_are_no_opinion(mask):
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(2, out=32)

        def forward(self, x):
            found = F.normalize(self.net(x), dim=-1)
            alike = found @ found.T / 0.5
            return alike.masked_fill(torch.eye(len(x), dtype=torch.bool), mask)

    torch.manual_seed(0)
    report = diagnose(Pairs(), X[:64], torch.arange(64).roll(1))
    assert report.verdict == "good", report
    assert report.check("logits").value < 2


def test_of_several_summands_the_one_is_named_whose_biases_kill_their_sum():
    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.Linear(16, 32), nn.Linear(32, 5)
            self.ways = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
            self.norms = nn.ModuleList(nn.BatchNorm1d(32) for _ in range(3))

        def forward(self, x):
            x = F.relu(self.up(x))
            one, two, three = (n(w(x)) for w, n in zip(self.ways, self.norms, strict=True))
            return self.head(F.relu(one + two + three))

    torch.manual_seed(0)
    module = Parallel()
    assert diagnose(module, X, Y).verdict == "good"
    nn.init.constant_(module.norms[0].bias, -20.0)
    report = diagnose(module, X, Y)
    assert report.check("dead units").layers == ("ways.0",)
    (asked,) = report.prescriptions
    assert (asked.parameter, asked.action) == ("norms.0.bias", "zero")
    report.fixed(module)
    assert report.after.verdict == "good"
