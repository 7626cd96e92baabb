"""Starts that the field takes on purpose, and the faults that look like them."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


X, Y = drawn(128, 16), torch.arange(128) % 5
SYMBOLS = torch.randint(40, (32, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def prescribed(report):
    return {each.parameter for each in report.prescriptions}


class Mixing(nn.Module):
    """The channel mixing of RWKV (Peng et al. 2023): receptance and value begin with zeros."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.key, self.value = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.receptance = nn.Linear(width, width)
        self.now = nn.Parameter(torch.linspace(0, 1, width))
        self.decay = nn.Parameter(-5 + 8 * torch.linspace(0, 1, width) ** 0.7)
        for each in (self.receptance, self.value):
            nn.init.zeros_(each.weight)
            nn.init.zeros_(each.bias)

    def forward(self, x):
        y = self.norm(x) * self.now * torch.exp(-torch.exp(self.decay))
        return x + self.receptance(y).sigmoid() * self.value(F.relu(self.key(y)) ** 2)


def test_a_gate_of_zeros_before_values_of_zeros_learns_after_them():
    module = nn.Sequential(nn.Linear(16, 32), Mixing(32), Mixing(32), nn.Linear(32, 5))
    report = diagnose(module, X, Y)
    assert report.check("symmetry").verdict == "good"
    assert report.check("streams").verdict == "good"  # ramps were not drawn
    assert report.verdict == "good"


def test_a_decoder_that_begins_as_its_encoder_is_good_and_a_copied_layer_is_not():
    class Sparse(nn.Module):
        """A sparse autoencoder (Gao et al. 2024)."""

        def __init__(self, width=128):
            super().__init__()
            directions = F.normalize(torch.randn(width, 16), dim=1)
            self.encoder, self.decoder = (nn.Parameter(directions.clone()) for _ in range(2))

        def forward(self, x):
            return F.relu(x @ self.encoder.T) @ self.decoder

    assert diagnose(Sparse(), X, X, loss="mse").check("streams").verdict == "good"
    copied = nn.Sequential(
        nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(),
        nn.Linear(32, 5),
    )  # fmt: skip
    copied[4].load_state_dict(copied[2].state_dict())
    assert diagnose(copied, X, Y).check("streams").layers == ("2", "4")


def test_a_weight_behind_a_mask_is_scaled_by_its_parameter():
    class Masked(nn.Linear):
        def __init__(self, inputs, units):
            super().__init__(inputs, units)
            self.register_buffer("mask", torch.ones(units, inputs).tril())

        def forward(self, x):
            return F.linear(x, self.weight * self.mask, self.bias)

    module = nn.Sequential(Masked(16, 64), nn.ReLU(), Masked(64, 64), nn.ReLU(), nn.Linear(64, 5))
    module[2].weight.data.mul_(100)
    report = diagnose(module, X, Y)
    assert prescribed(report) == {"2.weight"}
    assert diagnose(report.fixed(module), X, Y).verdict == "good"


class Looking(nn.Module):
    """Attention by hand: with a scale or without, its queries and keys normalised or not."""

    def __init__(self, width=64, scale=1.0, normalised=False):
        super().__init__()
        self.symbols, self.norm = nn.Embedding(40, width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_norm, self.k_norm = (
            nn.RMSNorm(width) if normalised else nn.Identity() for _ in range(2)
        )
        self.head, self.scale = nn.Linear(width, 40), scale

    def forward(self, symbols):
        y = self.norm(self.symbols(symbols))
        q, k = self.q_norm(self.q(y)), self.k_norm(self.k(y))
        return self.head((q @ k.mT * self.scale).softmax(-1) @ self.v(y))


def test_queries_of_attention_without_a_scale_are_brought_to_where_scores_differ_by_one():
    module = Looking()
    nn.init.normal_(module.q.weight, std=1 / 64)  # as T5 does
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    module.q.weight.data.mul_(30)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert report.check("attention").verdict == "bad"
    assert prescribed(report) == {"q.weight"}
    after = diagnose(report.fixed(module), SYMBOLS, SYMBOLS)
    assert after.verdict == "good"
    (looks,) = [each for each in after.recording.layers if each.attention_spread is not None]
    assert looks.attention_spread == pytest.approx(1.0, rel=1e-3)


def test_gains_of_queries_and_of_keys_are_mended_together():
    module = Looking(scale=1 / 8, normalised=True)
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    for each in (module.q_norm, module.k_norm):
        each.weight.data.mul_(30)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert prescribed(report) == {"q_norm.weight", "k_norm.weight"}
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_gains_of_zero_with_no_way_round_are_set_to_one(norm):
    module = nn.Sequential(
        nn.Linear(16, 64), norm(64), nn.ReLU(), nn.Linear(64, 64), norm(64), nn.ReLU(),
        nn.Linear(64, 5),
    )  # fmt: skip
    module[4].weight.data.zero_()
    report = diagnose(module, X, Y)
    assert prescribed(report) == {"4.weight"}
    fixed = report.fixed(module)
    assert (fixed[4].weight == 1).all()
    assert diagnose(fixed, X, Y).verdict == "good"


def test_an_output_bias_that_all_labels_share_is_set_to_zero():
    module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8))
    labels = (drawn(128, 8) > 1).float()
    module[2].bias.data.fill_(10.0)
    report = diagnose(module, X, labels, loss="binary_cross_entropy")
    assert prescribed(report) == {"2.bias"}
    after = diagnose(report.fixed(module), X, labels, loss="binary_cross_entropy")
    assert after.verdict == "good"


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.symbols, self.rnn = nn.Embedding(40, 16), kind(16, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 40)

    def forward(self, symbols):
        return self.head(self.rnn(self.symbols(symbols))[0])


def hold(module, name, gate, bias):
    module.rnn.get_parameter(name).data[32 * gate : 32 * (gate + 1)] = bias


@pytest.mark.parametrize("layer", ["l0", "l1"])
@pytest.mark.parametrize(
    ("kind", "gate", "bias", "word"),
    [
        (nn.LSTM, 0, -10.0, "input"), (nn.LSTM, 1, -10.0, "forget"), (nn.LSTM, 2, 10.0, "cell"),
        (nn.LSTM, 3, -10.0, "output"), (nn.GRU, 1, 10.0, "update"), (nn.GRU, 2, -10.0, "new"),
    ],
)  # fmt: skip
def test_gates_that_biases_hold_are_named_and_let_go(kind, gate, bias, word, layer):
    module = Recurrent(kind)
    hold(module, f"bias_ih_{layer}", gate, bias)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    check = report.check("dead units")
    assert (check.verdict, check.layers) == ("bad", ("rnn",))
    assert any(
        f"{word} gate (rnn.bias_ih_{layer}" in each for each in report.recording.layer("rnn").held
    )
    assert prescribed(report) == {f"rnn.bias_ih_{layer}"}
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


def test_gates_that_are_to_remember_are_good():
    module = Recurrent(nn.LSTM)
    for layer in ("l0", "l1"):
        hold(module, f"bias_ih_{layer}", 1, torch.linspace(1, 7, 32))
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    hold(module, "bias_ih_l0", 1, 12.0)
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"


@pytest.mark.parametrize("factor", [0.0, 1e-5])
def test_a_matrix_between_recurrent_layers_that_lets_nothing_through_is_mended(factor):
    module = Recurrent(nn.LSTM)
    module.rnn.weight_ih_l1.data.mul_(factor)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert report.verdict != "good"
    assert prescribed(report) == {"rnn.weight_ih_l1"}
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_an_embedding_that_the_biases_of_a_recurrent_layer_drown_is_named(kind):
    module = Recurrent(kind)
    nn.init.normal_(module.symbols.weight, std=0.02)
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    module.symbols.weight.data.mul_(1e-3)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert report.check("input scale").layers == ("symbols",)
    assert prescribed(report) == {"symbols.weight"}
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one, self.other = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return x + self.other(F.relu(self.norm(self.one(x))))


def test_units_with_equal_weights_in_a_branch_are_copies():
    pictures = drawn(32, 3, 12, 12)
    blocks = [Block(16) for _ in range(2)]
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )
    assert diagnose(module, pictures, Y[:32]).verdict == "good"
    blocks[1].one.weight.data.copy_(blocks[1].one.weight.data[:1].expand(16, -1, -1, -1))
    report = diagnose(module, pictures, Y[:32])
    assert report.check("symmetry").layers == ("2.one",)


def test_a_transform_that_begins_with_doing_nothing_is_not_blamed_for_what_dies_after_it():
    class Points(nn.Module):
        """A PointNet (Qi et al. 2017): points are turned by a matrix that begins as the unit."""

        def __init__(self):
            super().__init__()
            self.turn = nn.Sequential(nn.Linear(3, 32), nn.ReLU())
            self.matrix = nn.Linear(32, 9)
            nn.init.zeros_(self.matrix.weight)
            self.matrix.bias.data = torch.eye(3).flatten()
            self.each = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU())
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            matrix = self.matrix(self.turn(x).amax(1)).view(-1, 3, 3)
            return self.head(self.each(x @ matrix).amax(1))

    points, module = drawn(64, 40, 3), Points()
    assert diagnose(module, points, Y[:64]).verdict == "good"
    module.each[2].bias.data.fill_(-20.0)
    report = diagnose(module, points, Y[:64])
    assert {n for c in report.checks if c.verdict != "good" for n in c.layers} == {"each.2"}
    assert prescribed(report) == {"each.2.bias"}


def test_a_bias_kills_the_activation_of_the_next_block():
    class Down(nn.Module):
        """A block of a discriminator: activated as it is entered, pooled as it is left."""

        def __init__(self, width):
            super().__init__()
            self.one, self.skip = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

        def forward(self, x):
            return F.avg_pool2d(self.one(F.relu(x)) + self.skip(x), 2)

    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Down(16), Down(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    pictures = drawn(32, 3, 16, 16)
    module[1].one.bias.data.fill_(-50.0)
    report = diagnose(module, pictures, Y[:32])
    assert report.check("dead units").layers == ("1.one",)
    assert "1.one.bias" in prescribed(report)
