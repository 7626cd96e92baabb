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


class Squared(nn.Module):
    def forward(self, x):
        return torch.square(F.relu(x))


def test_a_relu_that_is_squared_in_a_module_of_its_own_is_no_dead_layer():
    module = nn.Sequential(nn.Linear(16, 64), Squared(), nn.Linear(64, 5))
    assert diagnose(module, X, Y).verdict == "good"
    module[0].bias.data.fill_(-20.0)
    assert diagnose(module, X, Y).check("dead units").layers == ("0",)


@pytest.mark.parametrize("how", ["power", "rest", "multiple", "depends"])
def test_weights_of_attention_may_be_multiplied_with_themselves(how):
    class Powers(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.head = nn.Linear(16, 16), nn.Linear(16, 5)

        def forward(self, x):
            h = self.q(x)
            a = (h @ h.mT / 4).softmax(-1)
            if how == "depends":
                return self.head((a @ torch.tanh(self.q(a @ a @ h))).mean(1))
            return self.head(({"power": a, "rest": 1 - a, "multiple": 7 * a}[how] @ a @ h).mean(1))

    assert diagnose(Powers(), drawn(32, 6, 16), Y[:32]).verdict == "good"


def test_a_loss_that_is_not_a_number_has_no_prescription_that_cannot_be_made():
    module = nn.Linear(16, 5)
    report = diagnose(module, X, Y, loss=lambda o, y: F.cross_entropy(o, y) * float("nan"))
    assert report.verdict == "bad"
    assert report.prescriptions == ()
    assert torch.equal(report.fixed(module).weight, module.weight)


def test_an_output_that_is_not_finite_is_told_of_as_such():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 5, bias=False)
            nn.init.zeros_(self.layer.weight)

        def forward(self, x):
            y = self.layer(x)
            return y / y.norm(dim=-1, keepdim=True)

    report = diagnose(Unit(), X, Y)
    assert (
        "the network's output has 640 of 640 values that are not finite"
        in report.check("finite").text
    )


def test_what_is_frozen_is_told_of_and_not_changed():
    module = nn.Sequential(
        nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 5)
    )
    module[2].weight.data.mul_(100)
    module[2].requires_grad_(False)
    report = diagnose(module, X, Y)
    assert "2" in report.check("gain").layers
    assert prescribed(report) == set()


def test_prototypes_of_length_one_behind_a_temperature_are_no_large_gain():
    class Prototypes(nn.Module):
        """The head of DINO (Caron et al. 2021)."""

        def __init__(self):
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
            self.last = nn.utils.parametrizations.weight_norm(nn.Linear(16, 100, bias=False))
            self.last.parametrizations.weight.original0.data.fill_(1.0)

        def forward(self, x):
            return self.last(F.normalize(self.hidden(x), dim=-1)) / 0.1

    report = diagnose(Prototypes(), X, Y, loss=lambda o, _: -o.log_softmax(-1).mean())
    assert report.verdict == "good"


def test_a_shifted_window_masks_the_bias_of_its_scores():
    class Window(nn.Module):
        """Swin's shifted windows (Liu et al. 2021)."""

        def __init__(self, width=32, places=16):
            super().__init__()
            self.qkv, self.head = nn.Linear(width, 3 * width), nn.Linear(width, 5)
            self.table = nn.Parameter(torch.randn(2 * places - 1) * 0.02)
            distance = torch.arange(places)[:, None] - torch.arange(places) + places - 1
            self.register_buffer("distance", distance)
            mask = torch.zeros(places, places)
            mask[: places // 2, places // 2 :] = mask[places // 2 :, : places // 2] = -100.0
            self.register_buffer("mask", mask)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, -1)
            scores = q @ k.mT / 32**0.5 + (self.table[self.distance] + self.mask)
            return self.head((scores.softmax(-1) @ v).mean(1))

    assert diagnose(Window(), drawn(32, 16, 32), Y[:32]).verdict == "good"


@pytest.mark.parametrize("kind", [torch.float, torch.long, torch.bool])
def test_a_mask_that_is_clamped_is_no_activation_of_a_layer(kind):
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.symbols, self.head = nn.Embedding(40, 16), nn.Linear(16, 5)

        def forward(self, symbols, mask):
            mask = torch.clamp(mask.float(), 0, 1)[..., None]
            return self.head((self.symbols(symbols) * mask).sum(1) / mask.sum(1))

    pair = (SYMBOLS, torch.ones(32, 12, dtype=kind))
    assert diagnose(Padded(), pair, Y[:32]).verdict == "good"


def test_losses_of_torch_are_judged_by_their_baseline():
    module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    labels = (drawn(128, 4) > 0).float()
    module[2].bias.data.fill_(40.0)
    for loss in (nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits):
        assert diagnose(module, X, labels, loss=loss).check("loss").layers == ("2",)
    for loss in (nn.MSELoss(), F.mse_loss):
        assert diagnose(module, X, drawn(128, 4), loss=loss).check("loss").verdict == "bad"
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.full((4,), 9.0))
    assert "loss" not in {each.name for each in diagnose(module, X, labels, loss=weighted).checks}


def test_positions_that_make_the_stream_wide_are_named_and_not_the_symbols():
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.symbols, self.places = nn.Embedding(40, 32), nn.Parameter(torch.randn(12, 32))
            self.hidden, self.head = nn.Linear(32, 32), nn.Linear(32, 40)

        def forward(self, symbols):
            x = self.symbols(symbols) + self.places
            return self.head(x + torch.tanh(self.hidden(x)))

    module = Placed()
    module.places.data.mul_(0.02)
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    for factor in (700.0, 5000.0):
        nn.init.normal_(module.places, std=0.02 * factor)
        report = diagnose(module, SYMBOLS, SYMBOLS)
        assert report.verdict != "good"
        assert "places" in prescribed(report)
        assert "symbols.weight" not in prescribed(report)
        assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


def test_logits_that_know_something_are_no_opinion():
    class Paired(nn.Linear):
        """Each example is told from the others, by itself."""

        def forward(self, x):
            y = super().forward(x)
            return 2 * y @ y.T

    x = drawn(128, 64)
    report = diagnose(Paired(64, 64), x, torch.arange(128))
    assert report.loss < 0.5
    assert report.check("logits").value > 5.5
    assert report.check("logits").verdict == "good"


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused_with_what_to_do():
    from fanin.errors import FaninError

    nested = torch.nested.nested_tensor([torch.randn(3, 16), torch.randn(5, 16)])
    with pytest.raises(FaninError, match="pad them"):
        diagnose(nn.Linear(16, 5), nested, Y[:2], loss=None)
