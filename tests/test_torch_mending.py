"""A module put right: in a copy, in place, and by the code that the report shows."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn

from fanin.diagnosis.report import ReportError
from fanin.torch import diagnose

X = torch.randn(256, 12, generator=torch.Generator().manual_seed(0))
Y = torch.arange(256) % 5


class Rows(nn.Module):
    """Weights whose units do not lie along the first axis."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.randn(12, 32) / 12**0.5)
        self.up = nn.ConvTranspose1d(32, 16, 3)
        self.output = nn.Linear(48, 5)

    def forward(self, x):
        x = torch.tanh(x @ self.rows)
        return self.output(torch.tanh(self.up(x[..., None])).flatten(1))


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 5)
    )


def wide_output(module):
    module[4].weight.mul_(60.0)


def dead(module):
    module[0].bias.fill_(-30.0)


def copies(module):
    module[0].weight[7], module[0].bias[7] = module[0].weight[3], module[0].bias[3]


def not_a_number(module):
    module[2].weight[1, 1] = torch.nan


def infinite_statistic(module):
    module[3].running_var[2] = torch.inf


def one_seed(module):
    module[2].weight.copy_(torch.randn(64, 64, generator=torch.Generator().manual_seed(4)) / 8)
    module[4].weight.copy_(torch.randn(5, 64, generator=torch.Generator().manual_seed(4)) / 80)


FAULTS = [wide_output, dead, copies, not_a_number, infinite_statistic, one_seed]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_are_found_and_mended_and_the_code_does_the_same(fault):
    module = mlp()
    with torch.no_grad():
        fault(module)
    report = diagnose(module, X, Y)
    assert report.verdict != "good"
    before = copy.deepcopy(module.state_dict())
    fixed = report.fixed()
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num())
    assert report.after.verdict == "good"
    by_code = copy.deepcopy(module)
    for prescription in report.prescriptions:
        exec(prescription.code, {"module": by_code, "inputs": X})
    for name, tensor in fixed.state_dict().items():
        assert torch.equal(tensor, by_code.state_dict()[name]), name
    after = report.fix_()
    assert after.verdict == "good"
    for name, tensor in fixed.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name
    with pytest.raises(ReportError, match="in place; diagnose it again"):
        report.fix_()


@pytest.mark.parametrize("name", ["rows", "up.weight"])
def test_copied_units_are_drawn_again_along_the_axis_where_they_lie(name):
    torch.manual_seed(0)
    module = Rows()
    weight = module.get_parameter(name)
    with torch.no_grad():
        weight[:, 4] = weight[:, 9]
        module.up.bias.zero_()
    report = diagnose(module, X, Y)
    (made,) = report.prescriptions
    assert made.units == (9,)
    fixed = report.fixed().get_parameter(name)
    changed = (fixed != weight).flatten(2).any(2) if weight.ndim > 2 else fixed != weight
    assert changed[:, 9].all()
    assert not changed[:, [unit for unit in range(weight.shape[1]) if unit != 9]].any()
    exec(made.code, {"module": module})
    assert torch.equal(fixed, weight)
    assert report.after.verdict == "good"


def test_another_module_of_the_same_parameters_can_be_put_right():
    module = mlp()
    with torch.no_grad():
        wide_output(module)
    other, report = copy.deepcopy(module), diagnose(module, X, Y)
    fixed = report.fixed(other)
    assert torch.equal(other[4].weight, module[4].weight)
    report.fix_(other)
    assert torch.equal(other[4].weight, fixed[4].weight)
    assert not torch.equal(other[4].weight, module[4].weight)
    report.fix_(module)
    assert torch.equal(other[4].weight, module[4].weight)
    with pytest.raises(ReportError, match=r"no parameter 4\.weight"):
        diagnose(mlp_with(module), X, Y).fixed(nn.Linear(12, 5))


def mlp_with(module):
    with torch.no_grad():
        wide_output(module)
    return module


def test_scales_can_be_measured_in_order_of_execution():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 5)
    )
    with torch.no_grad():
        module[2].weight.mul_(40.0)
        module[4].weight.mul_(60.0)
    report = diagnose(module, X, Y)
    made = report.prescribed(data_driven=True)
    assert [each.parameter for each in made] == ["2.weight", "4.weight"]
    after = report.fix_(data_driven=True)
    assert after.verdict == "good"
    assert after.recording.layer("2").preactivation.second_moment == pytest.approx(1.0, rel=0.02)


def test_optimisers_and_gradients_keep_what_they_hold():
    module = mlp()
    with torch.no_grad():
        wide_output(module)
    held, module[4].weight.grad = module[4].weight, torch.ones(5, 64)
    gradient = held.grad
    diagnose(module, X, Y).fix_()
    assert module[4].weight is held
    assert held.grad is gradient


def test_a_normalisations_bias_that_kills_units_is_set_to_zero():
    module = mlp()
    module.insert(1, nn.BatchNorm1d(64))
    with torch.no_grad():
        module[1].bias[:10] = -8.0
    report = diagnose(module, X, Y)
    assert report.check("dead units").verdict == "good"  # a sixth of them is not yet a fault
    with torch.no_grad():
        module[1].bias[:40] = -8.0
    report = diagnose(module, X, Y)
    assert report.check("dead units").verdict == "suspect"
    (change,) = report.prescriptions
    assert (change.parameter, change.action) == ("1.bias", "zero")
    assert report.fix_().verdict == "good"
    assert not module[1].bias.any()


class Joined(nn.Module):
    """A relu of the sum of two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(12, 64), nn.Linear(12, 64), nn.Linear(64, 5)

    def forward(self, x):
        return self.head(torch.relu(self.a(x) + self.b(x)))


def test_of_a_dead_sum_the_layer_is_named_whose_biases_killed_it():
    module = Joined()
    nn.init.constant_(module.b.bias, -10.0)
    report = diagnose(module, X, Y)
    assert report.check("dead units").layers == ("b",)
    assert "the biases of b" in report.check("dead units").text
    (change,) = report.prescriptions
    assert (change.parameter, change.action) == ("b.bias", "zero")
    assert report.fix_().verdict == "good"


@pytest.mark.parametrize("place", [3, 4])
def test_what_lets_nothing_through_is_drawn_again(place):
    module = nn.Sequential(
        nn.Linear(12, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 5),
    )  # fmt: skip
    nn.init.zeros_(module[place].weight)
    report = diagnose(module, X, Y)
    (change,) = report.prescriptions
    assert (change.parameter, change.action) == (f"{place}.weight", "draw")
    held = copy.deepcopy(module)
    exec(change.code, {"module": held})
    assert report.fix_().verdict == "good"
    assert torch.equal(held[place].weight, module[place].weight)


class Attends(nn.Module):
    """Two blocks of attention."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 32)
        self.blocks = nn.ModuleList(nn.Linear(32, 96) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.output = nn.Linear(32, 5)

    def forward(self, x):
        x = self.first(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            q, k, v = block(norm(x)).chunk(3, -1)
            x = x + nn.functional.scaled_dot_product_attention(q, k, v)
        return self.output(x.mean(1))


def test_saturated_attention_is_mended_at_its_projections():
    torch.manual_seed(0)
    module = Attends()
    with torch.no_grad():
        module.blocks[1].weight.mul_(20)
    report = diagnose(module, X.reshape(32, 8, 12), Y[:32])
    assert report.check("attention").layers == ("blocks.1",)
    assert "blocks.1.weight" in {each.parameter for each in report.prescriptions}
    assert report.fix_().check("attention").verdict == "good"


def test_a_stream_that_explodes_is_mended_at_the_ends_of_its_branches():
    torch.manual_seed(0)
    blocks = [nn.Linear(12, 12) for _ in range(8)]

    class Stream(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.output = nn.ModuleList(blocks), nn.Linear(12, 5)

        def forward(self, x):
            for block in self.blocks:
                x = x + torch.relu(block(x))
            return self.output(x)

    module = Stream()
    with torch.no_grad():
        for block in blocks:
            block.weight.mul_(6.0)
    report = diagnose(module, X, Y)
    assert report.check("stream").verdict != "good"
    assert "blocks.4.weight" in {each.parameter for each in report.prescriptions}
    assert report.fix_().check("stream").verdict == "good"


def test_a_statistic_of_ones_own_that_is_not_finite_is_found_and_begins_anew():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 64) / 8)
            self.register_buffer("running_scale", torch.tensor(torch.nan))

        def forward(self, x):
            return nn.functional.linear(x, self.weight) * self.running_scale.nan_to_num(1.0)

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), Scaled())
    report = diagnose(module, X, Y)
    assert report.check("finite").layers == ("2",)
    (asked,) = report.prescriptions
    by_code = copy.deepcopy(module)
    exec(asked.code, {"module": by_code, "inputs": X})
    assert torch.equal(report.fixed(module)[2].running_scale, by_code[2].running_scale)


def test_statistics_are_measured_anew_on_a_packed_sequence():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 5)
            nn.init.constant_(self.norm.running_var, 1e-8)

        def forward(self, packed):
            return self.head(torch.tanh(self.norm(packed.data)))

    torch.manual_seed(0)
    module, packed = Rows().eval(), nn.utils.rnn.pack_sequence([X[:140], X[140:]])
    report = diagnose(module, packed, Y)
    by_code = copy.deepcopy(module)
    for each in report.prescriptions:
        exec(each.code, {"module": by_code, "inputs": packed})
    fixed = report.fixed(module)
    assert torch.equal(fixed.norm.running_var, by_code.norm.running_var)
    assert report.after.check("running statistics").verdict == "good"
