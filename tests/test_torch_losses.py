"""Inputs and losses of every form, and errors that say what was wrong with them."""

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from fanin.errors import FaninError, OptionError, ShapeError
from fanin.torch import PassError, diagnose


def mlp(features=6, out=4):
    return nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, out))


class Sequence(nn.Module):
    """(batch, time) symbols to logits, classes last or second."""

    def __init__(self, last=True, classes=7):
        super().__init__()
        self.embedding, self.output = nn.Embedding(7, 12), nn.Linear(12, classes)
        self.last = last

    def forward(self, symbols):
        logits = self.output(self.embedding(symbols).tanh())
        return logits if self.last else logits.transpose(1, 2)


@pytest.mark.parametrize("last", [True, False])
def test_classes_stand_last_or_second_by_the_targets_shape(last):
    symbols = torch.randint(7, (16, 5))
    report = diagnose(Sequence(last), symbols, symbols)
    assert report.recording.loss.classes == 7
    assert report.expected_loss == pytest.approx(1.9459, abs=1e-4)
    assert report.loss == pytest.approx(report.expected_loss, abs=0.5)


def test_targets_of_ignore_index_do_not_count():
    module, symbols = Sequence(), torch.randint(7, (16, 5))
    targets = symbols.clone()
    targets[:, 2:] = -100
    with torch.no_grad():
        wanted = F.cross_entropy(module(symbols).flatten(0, 1), targets.flatten())
    assert diagnose(module, symbols, targets).loss == pytest.approx(float(wanted), rel=1e-5)


def test_inputs_are_a_tensor_a_tuple_or_a_dictionary():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, a, b):
            return self.net(a + b)

    a, b, y = torch.randn(32, 6), torch.randn(32, 6), torch.randint(4, (32,))
    as_tuple = diagnose(Two(), (a, b), y)
    as_dictionary = diagnose(Two(), {"b": b, "a": a}, y)
    assert as_tuple.recording.examples == as_dictionary.recording.examples == 32


def test_packed_sequences_are_inputs():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.output = nn.LSTM(6, 12), nn.Linear(12, 4)

        def forward(self, x):
            return self.output(self.rnn(x)[1][0][-1])

    packed = pack_sequence([torch.randn(5, 6), torch.randn(3, 6)])
    report = diagnose(Packed(), packed, torch.tensor([0, 3]))
    assert [layer.kind for layer in report.recording.layers] == ["recurrent", "linear"]
    assert any("gates inside rnn" in each for each in report.recording.not_seen)


@dataclass
class Result:
    logits: torch.Tensor
    hidden: torch.Tensor


@pytest.mark.parametrize("form", ["tuple", "dictionary", "dataclass"])
def test_outputs_are_tuples_dictionaries_and_dataclasses_with_logits(form):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            logits = self.net(x)
            return {
                "tuple": (logits, x),
                "dictionary": {"hidden": x, "logits": logits},
                "dataclass": Result(logits, x),
            }[form]

    report = diagnose(Wrapped(), torch.randn(32, 6), torch.randint(4, (32,)))
    assert report.recording.layer("net.2").role == "output"


def test_binary_and_squared_losses_are_held_against_the_targets_own():
    x = torch.randn(256, 6)
    binary = diagnose(mlp(out=1), x, (x[:, :1] > 1).float(), loss="binary_cross_entropy")
    share = float((x[:, 0] > 1).float().mean())
    entropy = -(share * torch.tensor(share).log() + (1 - share) * torch.tensor(1 - share).log())
    assert binary.expected_loss == pytest.approx(float(entropy), rel=1e-4)
    squared = diagnose(mlp(out=2), x, 3 * x[:, :2], loss="mse")
    variance = float((3 * x[:, :2]).var(0, unbiased=False).mean())
    assert squared.expected_loss == pytest.approx(variance, rel=1e-4)
    assert squared.verdict == "good"


def test_targets_far_from_what_the_module_gives_are_flagged():
    x = torch.randn(256, 6)
    report = diagnose(mlp(out=1), x, x[:, :1] + 300.0, loss="mse")
    check = report.check("loss")
    assert check.verdict == "bad"
    assert "targets" in check.text


def test_a_loss_of_ones_own_and_none():
    x, y = torch.randn(64, 6), torch.randint(4, (64,))
    own = diagnose(mlp(), x, y, loss=nn.CrossEntropyLoss())
    assert own.expected_loss == pytest.approx(1.3863, abs=1e-4)
    other = diagnose(mlp(), x, y, loss=lambda output, targets: output.square().mean())
    assert other.expected_loss is None
    none = diagnose(mlp(), x)
    assert none.loss is None
    assert none.recording.layers[0].gradient is not None


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (torch.tensor([0, 9, 1, 2]), "classes 0 to 3 .* found 9"),
        (torch.tensor([0, -3, 1, 2]), "found -3"),
        (torch.zeros(5, dtype=torch.long), r"\[4, 4\] and targets of shape \[5\]"),
        (torch.full((4,), -100), "no example is left"),
    ],
)
def test_labels_that_do_not_fit_are_named(targets, text):
    with pytest.raises(ShapeError, match=text):
        diagnose(mlp(), torch.randn(4, 6), targets)


def test_inputs_of_the_wrong_shape_name_the_module_that_was_given_them():
    module = nn.Sequential(nn.Linear(6, 8), nn.Linear(9, 4))
    with pytest.raises(ShapeError, match=r"failed in 1 \(Linear\), given \[5, 8\]"):
        diagnose(module, torch.randn(5, 6), torch.zeros(5, dtype=torch.long))


def test_symbols_out_of_range_name_the_embedding():
    with pytest.raises(ShapeError, match=r"embedding: .* rows 0 to 6; .* row 7"):
        diagnose(Sequence(), torch.full((2, 3), 7), torch.zeros(2, 3, dtype=torch.long))


def test_a_loss_that_is_not_one_number_is_refused():
    with pytest.raises(ShapeError, match=r"should return one number; .* \[4\]"):
        diagnose(mlp(), torch.randn(4, 6), None, loss=lambda output, targets: output.mean(1))
    with pytest.raises(OptionError, match="'crossentropy' is not known"):
        diagnose(mlp(), torch.randn(4, 6), torch.zeros(4), loss="crossentropy")


def test_what_cannot_be_looked_into_is_refused_with_what_to_do():
    with pytest.raises(PassError, match=r"lazy .* run the module once"):
        diagnose(nn.Sequential(nn.LazyLinear(4)), torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.warns(Warning):  # noqa: PT030
        scripted = torch.jit.script(mlp())
    with pytest.raises(FaninError, match="TorchScript"):
        diagnose(scripted, torch.randn(2, 6), torch.tensor([0, 1]))


def test_a_loss_without_a_graph_and_a_backward_pass_that_fails_are_told():
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, above):
            raise RuntimeError("out of luck")

    x, y = torch.randn(16, 6), torch.randint(4, (16,))
    with pytest.raises(PassError, match="does not depend on any parameter"):
        diagnose(mlp(), x, y, lambda output, targets: F.cross_entropy(output.detach(), targets))
    with pytest.raises(PassError, match="backward pass failed: out of luck"):
        diagnose(mlp(), x, y, lambda output, targets: Failing.apply(output))
    with pytest.raises(ShapeError, match="batch is empty"):
        diagnose(mlp(), x[:0], y[:0])


def test_logits_whose_squares_overflow_are_judged_without_a_warning():
    module = mlp()
    with torch.no_grad():
        module[2].weight.mul_(1e25)
    assert diagnose(module, torch.randn(16, 6), torch.randint(4, (16,))).verdict == "bad"


def test_parameters_that_can_have_no_gradient_are_refused():
    x, y = torch.rand(8, 6), torch.arange(8) % 4
    with torch.inference_mode():
        module = nn.Linear(6, 4)
    with pytest.raises(PassError, match="inference_mode"):
        diagnose(module, x, y)


class Mean(nn.Module):
    """One number for the whole batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        return self.linear(x).mean()


def test_one_number_for_the_batch_has_a_loss():
    assert diagnose(Mean(), torch.rand(64, 6), torch.tensor(0.0), loss="mse").verdict == "good"
