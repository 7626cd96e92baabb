"""Each kind of layer: what is recorded of it, its fan-in, its part in the whole."""

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose


def diagnosed(module, x, y=None, **settings):
    return diagnose(module, x, y, **({} if y is not None else {"loss": None}) | settings)


def recorded(module, x, y=None, **settings):
    return diagnosed(module, x, y, **settings).recording


def spread(module, x):
    """The standard deviation of what a layer without bias gives for inputs N(0, 1)."""
    with torch.no_grad():
        return float(module(x).std())


CONVOLUTIONS = {
    "1d": (nn.Conv1d(6, 8, 3, padding=1), (4, 6, 40), 18),
    "2d": (nn.Conv2d(6, 8, 3, padding=1), (4, 6, 16, 16), 54),
    "3d": (nn.Conv3d(6, 8, 3, padding=1), (4, 6, 6, 6, 6), 162),
    "strided": (nn.Conv2d(6, 8, 4, stride=2), (4, 6, 16, 16), 96),
    "grouped": (nn.Conv2d(6, 8, 3, groups=2, padding=1), (4, 6, 16, 16), 27),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, padding=1), (4, 6, 16, 16), 9),
    "transposed": (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), (4, 6, 16, 16), 24),
    "transposed, grouped": (nn.ConvTranspose2d(6, 8, 4, stride=4, groups=2), (4, 6, 8, 8), 3),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_fan_in_of_a_convolution_is_what_one_output_is_made_of(name):
    layer, shape, fan_in = CONVOLUTIONS[name]
    torch.manual_seed(0)
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = torch.randn(*shape)
    (found,) = recorded(layer, x).layers
    assert (found.kind, found.fan_in) == ("convolution", fan_in)
    assert found.units == layer.out_channels
    # The inside of a picture, where no padding thins the sums out.
    inside = layer(torch.randn(64, *shape[1:]))[(..., *[slice(2, -2)] * (len(shape) - 2))]
    assert float(inside.detach().std()) == pytest.approx(math.sqrt(fan_in), rel=0.15)
    assert [parameter.name for parameter in found.parameters] == ["weight", "bias"]


def test_copied_channels_of_a_transposed_convolution_are_found():
    layer = nn.ConvTranspose2d(6, 8, 4, stride=2)
    with torch.no_grad():
        layer.weight[:, 5] = layer.weight[:, 2]
        layer.bias[5] = layer.bias[2]
    (found,) = recorded(layer, torch.randn(4, 6, 8, 8)).layers
    assert found.copies == ((2, 5),)


def test_embeddings_have_rows_for_units_and_a_padding_row_is_no_fault():
    module = nn.Sequential(nn.Embedding(12, 16, padding_idx=0), nn.Linear(16, 12))
    x = torch.randint(12, (64, 4))
    report = diagnosed(module, x, x)
    layer = report.recording.layer("0")
    assert (layer.kind, layer.role, layer.weight_shape) == ("embedding", "embedding", (12, 16))
    assert report.verdict == "good"


def test_bilinear_layers_multiply_all_pairs():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.pairs, self.output = nn.Bilinear(6, 5, 16), nn.Linear(16, 4)

        def forward(self, a, b):
            return self.output(torch.tanh(self.pairs(a, b)))

    found = recorded(Pairs(), (torch.randn(64, 6), torch.randn(64, 5)), torch.randint(4, (64,)))
    layer = found.layer("pairs")
    assert (layer.fan_in, layer.units, layer.nonlinearity) == (30, 16, "tanh")


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        (nn.BatchNorm2d(8), "batch"),
        (nn.GroupNorm(2, 8), "group"),
        (nn.InstanceNorm2d(8, affine=True), "instance"),
        (nn.LayerNorm([8, 8, 8]), "layer"),
    ],
)
def test_normalisations_belong_to_the_layer_before(norm, kind):
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU())
    (layer,) = recorded(module, torch.randn(16, 3, 8, 8)).layers
    assert (layer.normalisation, layer.nonlinearity) == (kind, "relu")
    assert layer.normalised.second_moment == pytest.approx(1.0, rel=0.02)
    roles = [each.role for each in layer.parameters]
    assert roles[-2:] == ["normalisation gain", "normalisation bias"]


def test_rms_normalisation():
    module = nn.Sequential(nn.Linear(6, 16), nn.RMSNorm(16), nn.SiLU(), nn.Linear(16, 4))
    layer = recorded(module, torch.randn(64, 6), torch.randint(4, (64,))).layer("0")
    assert (layer.normalisation, layer.nonlinearity) == ("rms", "silu")


class Attention(nn.Module):
    def __init__(self, weights=False, scale=1.0):
        super().__init__()
        self.embedding = nn.Embedding(11, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm, self.output = nn.LayerNorm(32), nn.Linear(32, 11)
        self.weights = weights
        with torch.no_grad():
            self.attention.in_proj_weight[:64] *= scale

    def forward(self, symbols):
        x = self.embedding(symbols)
        given, _ = self.attention(x, x, x, need_weights=self.weights)
        return self.output(self.norm(x + given))


@pytest.mark.parametrize("weights", [True, False])
def test_attention_has_its_projections_and_the_entropy_of_its_weights(weights):
    torch.manual_seed(0)
    x = torch.randint(11, (16, 12))
    report = diagnosed(Attention(weights), x, x)
    names = [layer.name for layer in report.recording.layers]
    assert "attention.in_proj" in names
    assert "attention.out_proj" in names
    (layer,) = [each for each in report.recording.layers if each.kind == "attention"]
    assert layer.attention_entropy > 0.8
    assert report.verdict == "good"


@pytest.mark.parametrize("weights", [True, False])
def test_saturated_attention_is_a_fault(weights):
    torch.manual_seed(0)
    x = torch.randint(11, (16, 12))
    report = diagnosed(Attention(weights, scale=20.0), x, x)
    check = report.check("attention")
    assert check.verdict == "bad"
    assert check.layers == ("attention.in_proj",)


def test_an_infinite_mask_is_legitimate():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.qkv = nn.Embedding(11, 32), nn.Linear(32, 96)
            self.output = nn.Linear(32, 11)
            self.register_buffer("mask", torch.full((12, 12), -math.inf).triu(1))

        def forward(self, symbols):
            q, k, v = self.qkv(self.embedding(symbols)).chunk(3, -1)
            weights = (q @ k.mT / math.sqrt(32) + self.mask).softmax(-1)
            return self.output(weights @ v)

    x = torch.randint(11, (16, 12))
    report = diagnosed(Causal(), x, x)
    assert report.verdict == "good"
    (layer,) = [each for each in report.recording.layers if each.kind == "attention"]
    assert 0.8 < layer.attention_entropy <= 1.0


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_judged_from_outside_and_said_to_be(kind):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.output = kind(6, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            return self.output(self.rnn(x)[0][:, -1])

    report = diagnosed(Model(), torch.randn(32, 7, 6), torch.randint(4, (32,)))
    layer = report.recording.layer("rnn")
    assert layer.kind == "recurrent"
    assert layer.gradient.second_moment > 0
    assert {each.name for each in layer.parameters} >= {"rnn.weight_ih_l0", "rnn.bias_hh_l0"}
    assert "the gates inside rnn" in report.recording.not_seen


class Unrolled(nn.Module):
    """A recurrence of single steps."""

    def __init__(self, kind):
        super().__init__()
        self.cell, self.output = kind(6, 16), nn.Linear(16, 4)

    def forward(self, x):
        h = c = x.new_zeros(len(x), 16)
        for t in range(x.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
        return self.output(h)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("steps", [3, 70])
def test_a_recurrent_cell_is_a_layer_at_each_call(kind, steps):
    report = diagnosed(Unrolled(kind), torch.randn(32, steps, 6), torch.randint(4, (32,)))
    assert report.verdict == "good"
    calls = [layer for layer in report.recording.layers if layer.kind == "recurrent"]
    assert [each.name for each in calls[:3]] == ["cell", "cell#2", "cell#3"]
    assert calls[1].reads == ("", "cell")
    assert len(calls) == min(64, steps)
    assert {each.name for each in calls[0].parameters} >= {"cell.weight_ih", "cell.bias_hh"}
    assert "the gates inside cell" in report.recording.not_seen


@pytest.mark.parametrize(("kind", "gate"), [(nn.LSTMCell, 0), (nn.LSTMCell, 3), (nn.GRUCell, 2)])
def test_a_shut_gate_of_a_cell_is_named_by_the_cell_and_opened(kind, gate):
    x, y = torch.randn(64, 12, 6), torch.randint(4, (64,))
    module = Unrolled(kind)
    module.cell.bias_ih.data[16 * gate : 16 * (gate + 1)] = -12.0
    report = diagnosed(module, x, y)
    assert report.verdict != "good"
    assert {each.parameter for each in report.prescriptions} == {"cell.bias_ih"}
    assert diagnosed(report.fixed(module), x, y).verdict == "good"


@pytest.mark.parametrize(("matrix", "factor"), [("weight_ih", 1e-3), ("weight_hh", 30.0)])
def test_the_matrix_of_a_recurrence_that_is_out_of_scale_is_the_one_that_is_mended(matrix, factor):
    x, y = torch.randn(64, 12, 6), torch.randint(4, (64,))
    module = Unrolled(nn.LSTMCell)
    module.cell.get_parameter(matrix).data.mul_(factor)
    report = diagnosed(module, x, y)
    assert {each.parameter for each in report.prescriptions} == {f"cell.{matrix}"}
    assert diagnosed(report.fixed(module), x, y).verdict == "good"


def test_a_decoder_reads_the_state_that_an_encoder_hands_it():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.GRU(6, 16, batch_first=True), nn.GRU(6, 16)
            self.output = nn.Linear(16, 4)

        def forward(self, x):
            return self.output(self.decoder(x[:, :1].transpose(0, 1), self.encoder(x)[1])[0][0])

    found = recorded(Pair(), torch.randn(32, 3, 6), torch.randint(4, (32,)))
    assert found.layer("decoder").reads == ("", "encoder")


def test_tied_embeddings_are_one_parameter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(11, 16), nn.Linear(16, 11, bias=False)
            nn.init.normal_(self.embedding.weight, std=0.1)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(torch.tanh(self.embedding(x)))

    x = torch.randint(11, (64, 3))
    report = diagnosed(Tied(), x, x)
    tied = {each.name: each.tied_to for each in report.recording.parameters}
    assert tied == {"embedding.weight": None, "head.weight": "embedding.weight"}
    assert report.recording.layer("head").role == "output"
    assert report.recording.shared_streams == ()


@pytest.mark.parametrize(
    "parametrise",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
    ],
)
def test_parametrised_weights_are_recorded_as_they_are_used(parametrise):
    module = nn.Sequential(parametrise(nn.Linear(16, 16)), nn.Tanh(), nn.Linear(16, 4))
    layer = recorded(module, torch.randn(64, 16), torch.randint(4, (64,))).layer("0")
    used = module.eval()[0].weight.detach()
    assert layer.fan_in == 16
    assert layer.weight_std == pytest.approx(float(used.std(unbiased=False)), rel=0.2)
    assert any("parametrizations" in each.name for each in layer.parameters)


def test_frozen_parameters_have_no_gradient_and_no_fault():
    module = nn.Sequential(
        nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    )
    module[0].requires_grad_(False)
    report = diagnosed(module, torch.randn(64, 16), torch.randint(4, (64,)))
    assert report.verdict == "good"
    frozen = [each.name for each in report.recording.parameters if not each.trainable]
    assert frozen == ["0.weight", "0.bias"]
    assert any("frozen parameters: 0.weight, 0.bias" in each for each in report.recording.not_seen)


def test_unused_parameters_and_sparse_gradients_are_not_vanishing():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(500, 16, sparse=True)
            self.output, self.spare = nn.Linear(16, 4), nn.Linear(16, 4)

        def forward(self, x):
            return self.output(self.embedding(x).mean(1))

    report = diagnosed(Model(), torch.randint(500, (64, 3)), torch.randint(4, (64,)))
    assert report.verdict == "good"
    assert any("spare.weight" in each for each in report.recording.not_seen)


def test_checkpointed_blocks_are_measured_once():
    from torch.utils.checkpoint import checkpoint

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.block = nn.Linear(6, 16), nn.Sequential(nn.Linear(16, 16), nn.Tanh())
            self.output = nn.Linear(16, 4)

        def forward(self, x):
            x = torch.tanh(self.first(x))
            return self.output(checkpoint(self.block, x, use_reentrant=False))

    found = recorded(Model(), torch.randn(64, 6), torch.randint(4, (64,)))
    assert [layer.name for layer in found.layers] == ["first", "block.0", "output"]
    assert found.layer("block.0").gradient.second_moment > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_measured_in_float32_or_wider(dtype):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).to(dtype)
    layer = recorded(module, torch.randn(256, 16, dtype=dtype), torch.randint(4, (256,))).layers[0]
    assert layer.activation.second_moment == pytest.approx(1 / 6, rel=0.2)
    assert layer.gradient.second_moment > 0


def test_half_precision_that_overflows_only_when_squared_is_measured():
    module = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 4))
    module = module.to(torch.float16)
    with torch.no_grad():
        module[0].weight.mul_(20_000)
    layer = recorded(module, torch.randn(64, 16, dtype=torch.float16)).layers[0]
    assert layer.preactivation.finite
    assert layer.preactivation.second_moment > 65_504


def test_autocast_is_the_one_around_the_diagnosis():
    module = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    x, y = torch.randn(64, 16), torch.randint(4, (64,))
    with torch.autocast("cpu", torch.bfloat16):
        report = diagnosed(module, x, y)
    first = report.recording.layer("0")
    assert first.weight == "0.weight"
    assert first.gain == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert report.verdict == "good"


# Where PyTorch loads its compiler it warns of parts of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_modules_run_eagerly_and_it_is_said():
    module = torch.compile(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)))
    found = recorded(module, torch.randn(64, 6), torch.randint(4, (64,)))
    assert [layer.name for layer in found.layers] == ["0", "2"]
    assert any("ran eagerly" in each for each in found.not_seen)


def test_shared_sub_modules_are_one():
    shared = nn.Linear(16, 16)
    module = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), shared, nn.Tanh(), shared, nn.Linear(16, 4))
    report = diagnosed(module, torch.randn(64, 6), torch.randint(4, (64,)))
    assert [each.name for each in report.recording.layers] == ["0", "2", "2#2", "5"]
    assert report.recording.shared_streams == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_modules_on_a_gpu_are_measured_there():
    module = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4)).cuda()
    state = torch.cuda.get_rng_state()
    report = diagnosed(module, torch.randn(64, 6).cuda(), torch.randint(4, (64,)).cuda())
    assert report.verdict == "good"
    assert torch.equal(state, torch.cuda.get_rng_state())


def test_complex_and_integer_intermediates_do_no_harm():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.output = nn.Linear(16, 16), nn.Linear(9, 4)

        def forward(self, x):
            return self.output(torch.fft.rfft(F.gelu(self.first(x))).abs())

    report = diagnosed(Spectral(), torch.randn(64, 16), torch.randint(4, (64,)))
    assert report.verdict == "good"
