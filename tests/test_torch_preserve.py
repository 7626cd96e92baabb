"""A diagnosis leaves nothing behind, also when the pass fails."""

import copy
import random
import threading
from collections import deque

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn
from torch.nn.modules import module as hooks_for_all

from fanin.errors import FaninError
from fanin.torch import diagnose


class Busy(nn.Module):
    """Does to itself what a forward pass may do."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 12), nn.BatchNorm1d(12)
        self.drop, self.frozen = nn.Dropout(0.3), nn.Linear(12, 12)
        self.output = nn.Linear(12, 4)
        self.frozen.requires_grad_(False)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("hidden", torch.tensor([1.0, float("nan"), -0.0]), persistent=False)
        self.calls, self.seen, self.fails = 0, [], False

    def forward(self, x):
        self.calls += 1
        self.seen.append(x.shape)
        self.count += 1
        self.hidden.fill_(3.0)
        with torch.no_grad():
            self.linear.weight.mul_(0.5)
        self.noise = random.random() + np.random.rand()  # noqa: NPY002
        x = self.frozen(self.drop(self.norm(self.linear(x)).relu()))
        if self.fails:
            raise RuntimeError("out of luck")
        return self.output(x)


def state(module):
    tensors = [*module.parameters(), *module.buffers(), module.hidden]
    return (
        [tensor.detach().clone().numpy().tobytes() for tensor in tensors],
        [id(tensor) for tensor in tensors],
        [parameter.requires_grad for parameter in module.parameters()],
        [(id(p.grad), None if p.grad is None else p.grad.numpy().tobytes())
         for p in module.parameters()],
        [each.training for each in module.modules()],
        [sorted(vars(each)) for each in module.modules()],
        (module.calls, list(module.seen)),
        [len(each._forward_hooks) + len(each._forward_pre_hooks) + len(each._backward_hooks)
         for each in module.modules()],
        len(hooks_for_all._global_forward_hooks) + len(hooks_for_all._global_forward_pre_hooks),
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
    )  # fmt: skip


def busy(fails=False):
    module = Busy()
    module.fails = fails
    module.linear.weight.grad = torch.full((12, 6), 2.0)
    module.drop.eval()
    module.linear.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_bit_for_bit_as_before(fails):
    module, x, y = busy(fails), torch.randn(16, 6), torch.randint(4, (16,))
    before = state(module)
    if fails:
        with pytest.raises(FaninError, match="out of luck"):
            diagnose(module, x, y)
    else:
        diagnose(module, x, y)
    assert state(module) == before


CHANGES = {
    "parameter": lambda module: setattr(module, "weight", nn.Parameter(module.weight * 2.0)),
    "buffer": lambda module: module.held.resize_(5),
    "module": lambda module: setattr(module, "more", nn.Linear(2, 2)),
    "name": lambda module: delattr(module, "bias"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_registered_in_forward_is_put_back(what, fails):
    class Changing(nn.Linear):
        def forward(self, x):
            result = super().forward(x)
            CHANGES[what](self)
            if fails:
                raise RuntimeError("out of luck")
            return result

    module = Changing(6, 4)
    module.register_buffer("held", torch.arange(3.0))
    before = {name: id(each) for name, each in module.__dict__["_parameters"].items()}
    kept = copy.deepcopy(module.state_dict())
    try:
        said = diagnose(module, torch.randn(16, 6), torch.randint(4, (16,))).recording.not_seen
        assert what == "buffer" or "attributes" in said[-1]
    except FaninError:
        assert fails
    assert {name: id(each) for name, each in module.__dict__["_parameters"].items()} == before
    assert not list(module.children())
    assert all(torch.equal(module.state_dict()[name], each) for name, each in kept.items())


def test_parameters_that_the_loss_writes_to_are_put_back():
    module = nn.Linear(6, 4)
    before = copy.deepcopy(module.state_dict())

    def stepping(output, targets):
        loss = nn.functional.cross_entropy(output, targets)
        with torch.no_grad():
            module.bias.add_(1.0)
        return loss

    diagnose(module, torch.randn(16, 6), torch.randint(4, (16,)), stepping)
    assert all(torch.equal(module.state_dict()[name], each) for name, each in before.items())


def test_other_attributes_that_forward_changed_are_reported():
    report = diagnose(busy(), torch.randn(16, 6), torch.randint(4, (16,)))
    (said,) = [each for each in report.recording.not_seen if "attributes" in each]
    assert all(name in said for name in ("calls", "seen", "noise"))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_the_one_the_module_is_in(training):
    module = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4))
    module.train(training)
    module[1].running_mean.fill_(5.0)
    x, y = torch.randn(64, 6), torch.randint(4, (64,))
    layer = diagnose(module, x, y).recording.layer("0")
    assert (abs(layer.normalised.mean) < 1e-4) == training
    assert module.training is training


def test_no_gradient_is_left_and_none_is_lost_with_reentrant_checkpoints():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.block = nn.Linear(6, 12), nn.Linear(12, 12)
            self.output = nn.Linear(12, 4)

        def forward(self, x):
            x = torch.tanh(self.first(x))
            return self.output(checkpoint(lambda x: self.block(x).tanh(), x, use_reentrant=True))

    module = Checkpointed()
    module.first.weight.grad = own = torch.ones(12, 6)
    twin = copy.deepcopy(module)
    x, y = torch.randn(32, 6), torch.randint(4, (32,))
    recording = diagnose(module, x, y).recording
    assert module.first.weight.grad is own
    assert bool((own == 1.0).all())
    assert module.block.weight.grad is None
    loss = nn.functional.cross_entropy(twin(x), y)
    loss.backward()
    wanted = float(twin.block.weight.grad.square().mean())
    found = {each.name: each for each in recording.parameters}["block.weight"]
    assert found.gradient.second_moment == pytest.approx(wanted, rel=1e-4)


def test_a_user_under_no_grad_gets_gradients_all_the_same():
    module = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4))
    with torch.no_grad():
        report = diagnose(module, torch.randn(16, 6), torch.randint(4, (16,)))
    assert report.recording.layers[0].gradient is not None


class Moving(nn.Module):
    """Writes to its input, to a plain tensor, and draws from generators of its own."""

    def __init__(self):
        super().__init__()
        self.linear, self.plain = nn.Linear(6, 4), torch.zeros(3)
        self.torch, self.numpy = torch.Generator().manual_seed(1), np.random.default_rng(0)
        self.python = random.Random(0)

    def forward(self, x):
        self.plain.add_(1)
        torch.rand(1, generator=self.torch)
        self.numpy.random()
        self.python.random()
        return self.linear(x.sub_(0.5).mul_(3.4))


def test_inputs_plain_tensors_and_own_generators_are_put_back():
    module, x, y = Moving(), torch.rand(64, 6), torch.arange(64) % 4
    before = (x.clone(), module.torch.get_state(), module.numpy.bit_generator.state)
    python = module.python.getstate()
    first, second = diagnose(module, x, y), diagnose(module, x, y)
    assert torch.equal(x, before[0])
    assert torch.equal(module.plain, torch.zeros(3))
    assert torch.equal(module.torch.get_state(), before[1])
    assert module.numpy.bit_generator.state == before[2]
    assert module.python.getstate() == python
    assert first.to_dict() == second.to_dict()
    (said,) = (each for each in first.recording.not_seen if "attributes" in each)
    assert all(name in said for name in ("plain", "torch", "numpy", "python"))


class Backward(nn.Module):
    """Runs a backward pass of its own, which adds to `.grad`."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x):
        out = self.linear(x)
        out.square().mean().backward(retain_graph=True)
        return out


def test_what_a_gradient_holds_is_put_back():
    module = Backward()
    held = module.linear.weight.grad = torch.ones(4, 6)
    diagnose(module, torch.rand(64, 6), torch.arange(64) % 4)
    assert module.linear.weight.grad is held
    assert torch.equal(held, torch.ones(4, 6))
    assert module.linear.bias.grad is None


class Counter:
    def __init__(self):
        self.calls, self.history = 0, []


class Slotted:
    __slots__ = ("calls", "history")

    def __init__(self):
        self.calls, self.history = 0, []


class Keeping(nn.Module):
    """Keeps things in places that PyTorch does not look after."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.tensors = [torch.zeros(4), {"mean": torch.ones(4)}]
        self.array, self.recent = np.zeros((3, 4)), deque([1, 2], maxlen=2)
        self.tally, self.names = Counter(), {"known"}
        self.unregistered = [nn.BatchNorm1d(4)]
        self.cache: dict = {}
        self.tuple = (np.arange(3), [])
        self.slotted, self.bytes = Slotted(), bytearray(b"ab")

    def forward(self, x):
        x = self.unregistered[0](self.linear(x))
        with torch.no_grad():
            self.tensors[0] += x.mean(0)
            self.tensors[1]["mean"].mul_(0.9)
        self.array[0] = 1.0
        self.tuple[0][1] = 7
        self.tuple[1].append(x)
        self.recent.append(3)
        self.tally.calls += 1
        self.tally.history.append(float(x.detach().sum()))
        self.names.add("new")
        self.slotted.calls += 1
        self.slotted.history.append(1)
        self.bytes[0] = 7
        self.cache["keys"] = x.detach()
        return x


def held(module):
    norm = module.unregistered[0]
    tensors = [module.tensors[0], module.tensors[1]["mean"], norm.running_mean, norm.weight]
    return (
        [tensor.detach().numpy().tobytes() for tensor in tensors],
        int(norm.num_batches_tracked),
        module.array.tobytes(),
        module.tuple[0].tolist(),
        len(module.tuple[1]),
        list(module.recent),
        module.tally.calls,
        list(module.tally.history),
        set(module.names),
        (module.slotted.calls, list(module.slotted.history), bytes(module.bytes)),
        dict(module.cache),
    )


def test_what_forward_changes_inside_of_things_is_put_back_and_told():
    module = Keeping()
    before, ids = held(module), [id(each) for each in (module.array, module.recent, module.tally)]
    report = diagnose(module, torch.randn(16, 6), torch.randint(4, (16,)))
    assert held(module) == before
    assert [id(each) for each in (module.array, module.recent, module.tally)] == ids
    (said,) = [each for each in report.recording.not_seen if "attributes" in each]
    keeper_names = said.partition(": ")[2]
    assert "tensors[0]" in keeper_names
    assert "and" in keeper_names  # more than are listed


def test_what_hangs_on_a_module_is_found_whatever_it_is():
    one = {"itself": None}
    one["itself"] = one
    module = Keeping()
    module.loop, module.lock, module.lines = one, threading.Lock(), (line for line in "ab")
    module.many = [np.zeros(2)] * 5_000
    report = diagnose(module, torch.randn(16, 6), torch.randint(4, (16,)))
    assert report.verdict == "good"
    assert next(module.lines) == "a"


def test_what_a_loss_changes_is_put_back():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(4))
            self.calls = 0

        def forward(self, output, targets):
            self.calls += 1
            self.seen += output.detach().mean(0)
            targets += 1.0
            return (output - targets).square().mean()

    loss, targets = Mean(), torch.zeros(16, 4)
    report = diagnose(nn.Linear(6, 4), torch.randn(16, 6), targets, loss)
    assert not loss.seen.any()
    assert loss.calls == 0
    assert not targets.any()
    assert any("calls of the loss" in each for each in report.recording.not_seen)
