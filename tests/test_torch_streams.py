"""Residual streams, what branches add to them, and what tables add to the inputs."""

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


PICTURES, CLASSES = drawn(32, 3, 12, 12), torch.arange(32) % 5
SYMBOLS = torch.randint(40, (16, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def small(module, std=0.02):
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Embedding):
            nn.init.normal_(each.weight, std=std)
    return module


class Attended(nn.Module):
    """A block of a transformer, with normalisations before its branches or after its sums."""

    def __init__(self, width, after=False, cross=False):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, 4, batch_first=True)
        self.other = nn.MultiheadAttention(width, 4, batch_first=True) if cross else None
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.after = after

    def forward(self, x, memory=None, mask=None):
        def own(y):
            return self.own(y, y, y, key_padding_mask=mask, need_weights=False)[0]

        x = self.added(x, 0, own)
        if self.other is not None:
            x = self.added(x, 2, lambda y: self.other(y, memory, memory, need_weights=False)[0])
        return self.added(x, 1, lambda y: self.down(F.gelu(self.up(y))))

    def added(self, x, which, branch):
        norm = self.norms[which]
        return norm(x + branch(x)) if self.after else x + branch(norm(x))


class Reader(nn.Module):
    """A transformer whose padding comes from the symbols themselves."""

    def __init__(self, after, blocks=4, width=48):
        super().__init__()
        self.symbols = nn.Embedding(40, width)
        self.places = nn.Parameter(torch.randn(24, width) * 0.02)
        self.blocks = nn.ModuleList(Attended(width, after) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 40)
        small(self)

    def forward(self, symbols):
        x, mask = self.symbols(symbols) + self.places, symbols == 0
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.head(self.norm(x))


@pytest.mark.parametrize("after", [False, True])
def test_a_stream_that_is_normalised_at_each_sum_does_not_grow(after):
    report = diagnose(Reader(after), SYMBOLS, SYMBOLS)
    assert report.verdict == "good"
    assert report.check("stream").value < 100


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("block", [0, 2, 3])
def test_a_branch_that_drowns_the_stream_is_found_beside_a_mask(after, block):
    module = Reader(after)
    module.blocks[block].down.weight.data.mul_(3000)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert report.check("stream").layers == (f"blocks.{block}.down",)
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


def test_a_mask_made_of_the_symbols_is_no_way_round():
    report = diagnose(Reader(after=False), SYMBOLS, SYMBOLS)
    assert report.check("gradients").text.startswith("From blocks.3:sum#2 back to blocks.0:sum ")
    looks = report.recording.layer("blocks.3.own:attention")
    assert looks.reads == ("blocks.3.own.in_proj",)


def test_a_decoder_has_a_stream_though_its_encoder_leads_round_it():
    class Translator(nn.Module):
        def __init__(self, width=48):
            super().__init__()
            self.symbols = nn.Embedding(40, width)
            self.encoder = Attended(width)
            self.decoder = nn.ModuleList(Attended(width, cross=True) for _ in range(2))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 40)
            small(self)

        def forward(self, source, target):
            memory, x = self.encoder(self.symbols(source)), self.symbols(target)
            for block in self.decoder:
                x = block(x, memory)
            return self.head(self.norm(x))

    module, pair = Translator(), (SYMBOLS, SYMBOLS.flip(1))
    assert diagnose(module, pair, SYMBOLS).verdict == "good"
    module.decoder[0].down.weight.data.mul_(3000)
    report = diagnose(module, pair, SYMBOLS)
    assert report.check("stream").layers == ("decoder.0.down",)


@pytest.mark.parametrize("by", ["table", "embedding"])
def test_positions_that_drown_the_symbols_are_named_and_made_smaller(by):
    module = Reader(after=False)
    if by == "embedding":

        class Placed(nn.Module):
            def __init__(self):
                super().__init__()
                self.symbols, self.inner = module.symbols, module
                self.places = nn.Embedding(24, 48)

            def forward(self, symbols):
                x = self.symbols(symbols) + self.places(torch.arange(24))
                for block in self.inner.blocks:
                    x = block(x)
                return self.inner.head(self.inner.norm(x))

        module = Placed()
        places = module.places.weight
    else:
        places = module.places
    nn.init.normal_(places, std=0.02)
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    nn.init.normal_(places, std=20.0)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    check = report.check("input scale")
    assert check.verdict == "bad"
    assert report.check("examples").layers in ((), check.layers)
    assert [each.parameter.partition(".")[0] for each in report.prescriptions] == ["places"]
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"


class Scaled(nn.Module):
    """A block whose branch is multiplied by a scale of its own, as of ConvNeXt or SkipInit."""

    def __init__(self, width, scale, one):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.gamma = nn.Parameter(torch.full((1,) if one else (width, 1, 1), scale))

    def forward(self, x):
        return x + self.conv(F.gelu(self.norm(x))) * self.gamma


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("scale", [1e-6, 0.0, 0.1])
def test_a_scale_that_makes_a_branch_drown_the_stream_is_named_and_no_weight(one, scale):
    blocks = [Scaled(16, scale, one) for _ in range(3)]
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip
    assert diagnose(module, PICTURES, CLASSES).verdict == "good"
    blocks[1].gamma.data.fill_(1000.0)
    report = diagnose(module, PICTURES, CLASSES)
    assert report.verdict != "good"
    assert {each.parameter for each in report.prescriptions} == {"2.gamma"}
    assert diagnose(report.fixed(module), PICTURES, CLASSES).verdict == "good"


def test_a_class_token_behind_small_layer_scales_is_good():
    class Transformer(nn.Module):
        """A read-out that small scales hold apart from the patches (Touvron et al. 2021)."""

        def __init__(self, width=48):
            super().__init__()
            self.patch = nn.Linear(9, width)
            self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.blocks = nn.ModuleList(Attended(width) for _ in range(3))
            self.gammas = nn.ParameterList(torch.full((width,), 1e-5) for _ in range(3))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

        def forward(self, x):
            x = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x)], 1)
            for block, gamma in zip(self.blocks, self.gammas, strict=True):
                x = x + gamma * (block(x) - x)
            return self.head(self.norm(x)[:, 0])

    assert diagnose(Transformer(), drawn(32, 16, 9), CLASSES).verdict == "good"


def test_parallel_parts_of_a_sum_are_no_stream():
    class Operator(nn.Module):
        """A Fourier neural operator (Li et al. 2021): its spectral weights begin small."""

        def __init__(self, width=16):
            super().__init__()
            self.spectral = nn.Parameter(
                torch.randn(width, width, 8, dtype=torch.cfloat) / width**2
            )
            self.local = nn.Conv1d(width, width, 1)

        def forward(self, x):
            modes = torch.fft.rfft(x)[..., :8]
            mixed = torch.einsum("bik,iok->bok", modes, self.spectral)
            return F.gelu(torch.fft.irfft(mixed, x.shape[-1]) + self.local(x))

    module = nn.Sequential(
        nn.Conv1d(1, 16, 1), Operator(), Operator(), Operator(), nn.Conv1d(16, 1, 1)
    )
    x = torch.sin(torch.linspace(0, 6, 64) * drawn(32, 1, 1) * 3) * math.sqrt(2)
    assert diagnose(module, x, x, loss="mse").verdict == "good"


def test_a_token_that_small_branches_are_added_to_is_a_stream_and_no_table():
    class Asked(nn.Module):
        """A class token that looks at patches behind a layer scale, as of CaiT."""

        def __init__(self, width=48):
            super().__init__()
            self.patch, self.norm = nn.Linear(9, width), nn.LayerNorm(width)
            self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.look = nn.MultiheadAttention(width, 4, batch_first=True)
            self.gamma = nn.Parameter(torch.full((width,), 1e-5))
            self.head = nn.Linear(width, 5)

        def forward(self, x):
            x = self.patch(x)
            token = self.token.expand(len(x), -1, -1)
            y = self.norm(torch.cat([token, x], 1))
            token = token + self.gamma * self.look(y[:, :1], y, y, need_weights=False)[0]
            return self.head(self.norm(token)[:, 0])

    report = diagnose(Asked(), drawn(32, 16, 9), CLASSES)
    assert report.recording.placed == ()
    assert report.verdict == "good"


def test_a_stream_that_begins_too_wide_for_its_branches_is_named_by_what_made_it():
    module = Reader(after=False)
    module.symbols = nn.Sequential(module.symbols, nn.LayerNorm(48))
    assert diagnose(module, SYMBOLS, SYMBOLS).verdict == "good"
    module.symbols[1].weight.data.mul_(300)
    report = diagnose(module, SYMBOLS, SYMBOLS)
    assert report.check("stream").layers == ("symbols.0",)
    assert {each.parameter for each in report.prescriptions} == {"symbols.1.weight"}
    assert diagnose(report.fixed(module), SYMBOLS, SYMBOLS).verdict == "good"
