"""Networks without a linear head: products of towers, temperatures, learned queries, sets."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn

from fanin.torch import diagnose


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


X, MEMBERS = drawn(64, 16), drawn(64, 30, 16)
PAIRED, FIVE = torch.arange(64), torch.arange(64) % 5
FIELDS = torch.randint(1000, (256, 10), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Branch(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def tower(width=64, branches=4):
    stream = [Branch(width) for _ in range(branches)]
    return nn.Sequential(nn.Linear(16, width), *stream, nn.LayerNorm(width))


class Towers(nn.Module):
    """Cosines of two towers, over a temperature."""

    def __init__(self, temperature):
        super().__init__()
        self.one, self.other, self.temperature = tower(), tower(), temperature

    def forward(self, x):
        one, other = F.normalize(self.one(x), dim=-1), F.normalize(self.other(x), dim=-1)
        return self.temperature(one @ other.T)


class Exponential(nn.Module):
    def __init__(self, logarithm):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(logarithm))

    def forward(self, cosines):
        return cosines * self.logit_scale.exp()


class Divisor(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.tau = nn.Parameter(torch.tensor(temperature))

    def forward(self, cosines):
        return cosines / self.tau


def test_a_branch_that_drowns_its_tower_is_found_without_a_head():
    module = Towers(Exponential(2.66))
    assert diagnose(module, X, PAIRED).verdict == "good"
    module.other[2].down.weight.data.mul_(1e4)
    report = diagnose(module, X, PAIRED)
    assert report.check("stream").layers == ("other.2.down",)
    assert diagnose(report.fixed(module), X, PAIRED).verdict == "good"


@pytest.mark.parametrize("make", [lambda: Exponential(7.0), lambda: Divisor(0.001)])
def test_a_temperature_that_sharpens_too_much_is_named_and_mended(make):
    module = Towers(make())
    report = diagnose(module, X, PAIRED)
    assert report.check("logits").verdict == "bad"
    assert report.check("logits").layers == ("temperature",)
    assert report.recording.loss.multiplier in report.check("logits").text
    assert [each.layer for each in report.prescriptions] == ["temperature"]
    after = diagnose(report.fixed(module), X, PAIRED)
    assert after.verdict == "good"
    assert after.recording.loss.output_variance == pytest.approx(1.0, rel=1e-3)


def test_a_head_is_to_blame_where_the_temperature_is_not():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.scale = nn.Linear(16, 5), nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.head(x) * self.scale

    module = Scaled()
    assert diagnose(module, X, FIVE).verdict == "good"
    module.head.weight.data.mul_(50)
    assert diagnose(module, X, FIVE).check("logits").layers == ("head",)


class Machine(nn.Module):
    """A factorisation machine (Rendle 2010): products of all pairs of fields."""

    def __init__(self, std):
        super().__init__()
        self.vectors, self.weights = nn.Embedding(1000, 16), nn.Embedding(1000, 1)
        nn.init.normal_(self.vectors.weight, std=std)
        nn.init.zeros_(self.weights.weight)

    def forward(self, fields):
        of = self.vectors(fields)
        pairs = 0.5 * (of.sum(1) ** 2 - (of**2).sum(1)).sum(-1)
        return self.weights(fields).sum((1, 2)) + pairs


@pytest.mark.parametrize("std", [1.0, 30.0])
def test_embeddings_whose_products_are_too_wide_are_named_and_made_narrower(std):
    targets = (FIELDS[:, 0] % 2).float()
    assert diagnose(Machine(0.05), FIELDS, targets, loss="binary_cross_entropy").verdict == "good"
    module = Machine(std)
    report = diagnose(module, FIELDS, targets, loss="binary_cross_entropy")
    assert report.check("loss").layers == ("vectors",)
    for by_data in (False, True):
        mended = report.fixed(module, data_driven=by_data)
        after = diagnose(mended, FIELDS, targets, loss="binary_cross_entropy")
        assert after.verdict == "good"


@pytest.mark.parametrize("loss", [None, lambda output, _: output.square().mean()])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_head_behind_a_normalisation_is_judged_whatever_the_loss_is(loss, hidden):
    before = [nn.Linear(16, 64), nn.ReLU(), nn.LayerNorm(64)] if hidden else [nn.LayerNorm(16)]
    module = nn.Sequential(*before, nn.Linear(64 if hidden else 16, 5))
    assert diagnose(module, X, FIVE, loss=loss).verdict == "good"
    module[-1].weight.data.mul_(100)
    report = diagnose(module, X, FIVE, loss=loss)
    assert report.check("gain").layers == (str(len(module) - 1),)
    assert report.check("gain").verdict == "bad"
    assert diagnose(report.fixed(module), X, FIVE, loss=loss).verdict == "good"


class Asked(nn.Module):
    """Queries that are parameters look at the members of a set."""

    def __init__(self, std, width=512):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(8, width) * std)
        self.keys, self.values = nn.Linear(16, width), nn.Linear(16, width)
        self.head = nn.Linear(8 * width, 5)

    def forward(self, x):
        scores = self.queries @ self.keys(x).mT / self.queries.shape[1] ** 0.5
        return self.head((scores.softmax(-1) @ self.values(x)).flatten(1))


@pytest.mark.parametrize("std", [0.02, 1.0])
def test_queries_that_are_parameters_are_judged_by_what_they_look_at(std):
    assert diagnose(Asked(std), MEMBERS, FIVE).verdict == "good"


def test_queries_that_are_parameters_and_look_at_one_key_alone_are_mended():
    module = Asked(30.0)
    report = diagnose(module, MEMBERS, FIVE)
    assert report.check("attention").layers == ("queries",)
    assert report.check("gain").verdict == "good"
    assert diagnose(report.fixed(module), MEMBERS, FIVE).verdict == "good"


def test_slots_that_compete_for_members_are_good():
    class Slots(nn.Module):
        """Slot attention (Locatello et al. 2020): the softmax goes over the slots."""

        def __init__(self, width=64):
            super().__init__()
            self.mu, self.norm = nn.Parameter(torch.randn(1, 6, width)), nn.LayerNorm(width)
            self.queries, self.cell = nn.Linear(width, width), nn.GRUCell(width, width)
            self.keys, self.values = nn.Linear(16, width), nn.Linear(16, width)
            self.head = nn.Linear(6 * width, 5)

        def forward(self, x):
            keys, values = self.keys(x), self.values(x)
            slots = self.mu.expand(len(x), -1, -1)
            for _ in range(3):
                scores = self.queries(self.norm(slots)) @ keys.mT / 8
                weights = scores.softmax(1) + 1e-8
                given = weights / weights.sum(-1, keepdim=True) @ values
                slots = self.cell(given.flatten(0, 1), slots.flatten(0, 1)).view_as(given)
            return self.head(slots.flatten(1))

    report = diagnose(Slots(), MEMBERS, FIVE)
    assert report.verdict == "good"
    assert report.check("attention").value > 0.8


def test_a_mean_over_a_set_is_no_vanishing_gradient():
    class DeepSet(nn.Module):
        """Zaheer et al. 2017."""

        def __init__(self, act):
            super().__init__()
            self.each = nn.Sequential(nn.Linear(16, 64), act(), nn.Linear(64, 64), act())
            self.all = nn.Sequential(nn.Linear(64, 64), act(), nn.Linear(64, 5))

        def forward(self, x):
            return self.all(self.each(x).mean(1))

    for act in (nn.ReLU, nn.Tanh, nn.GELU):
        assert diagnose(DeepSet(act), drawn(64, 60, 16), FIVE).verdict == "good"
    module = DeepSet(nn.Tanh)
    module.all[0].weight.data.mul_(1e-6)
    assert diagnose(module, MEMBERS, FIVE).verdict != "good"
