"""The ways to train many networks that `race` times; what is counted are steps of one run."""

from collections.abc import Sequence

RATE = 0.1
STEPS_AT_ONCE = 1024  # of a call of the race's program, as in fanin.training.step


class FaninRace:
    """The training alone: how often dev losses are measured is another choice."""

    def __init__(self, sizes: Sequence[int], runs: int) -> None:
        from fanin.corpus import Corpus, bundled_names
        from fanin.networks import CharacterMLP
        from fanin.race import Lane, Run
        from fanin.race.devices import use_all_cores
        from fanin.race.run import Heat
        from fanin.race.widths import choose_width
        from fanin.starts import find_start
        from fanin.training import TrainingOptions

        use_all_cores()
        embedding, block, hidden, batch = sizes
        corpus = Corpus.of(bundled_names(), block=block)
        network = CharacterMLP(len(corpus.vocabulary), block, embedding, (hidden,))
        options = TrainingOptions(steps=10**9, batch=batch, lr=RATE)
        lanes = [Lane("fanin", network, find_start("fanin"), options)]
        racers = [Run(0, seed) for seed in range(runs)]
        self.heat = Heat(lanes, racers, corpus, tile=choose_width(lanes, racers, corpus).width)
        self.runs = runs
        self.chunk = STEPS_AT_ONCE * runs

    def run(self, count: int) -> None:
        self.heat.train(self.heat.step + count // self.runs)


class TorchEager:
    """So many runs one after the other, each by a plain loop with an optimiser."""

    def __init__(self, sizes: Sequence[int], runs: int = 1, device: str = "cpu") -> None:
        import torch

        torch.set_num_threads(1)
        self.device, self.batch, self.chunk = device, sizes[3], runs
        self.contexts, self.targets = _data(sizes[1], device)
        self.networks = [_module(sizes).to(device) for _ in range(runs)]
        self.optimisers = [torch.optim.SGD(each.parameters(), lr=RATE) for each in self.networks]

    def run(self, count: int) -> None:
        import torch

        cross_entropy = torch.nn.functional.cross_entropy
        for network, optimiser in zip(self.networks, self.optimisers, strict=True):
            for _ in range(count // self.chunk):
                examples = torch.randint(0, len(self.targets), (self.batch,), device=self.device)
                loss = cross_entropy(network(self.contexts[examples]), self.targets[examples])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        if self.device != "cpu":
            torch.cuda.synchronize()


class TorchVmap:
    """All runs at once, each with its own batches, by an ensemble's stacked parameters."""

    def __init__(self, sizes: Sequence[int], runs: int, threads: int, device: str = "cpu") -> None:
        import torch
        from torch.func import functional_call, grad, stack_module_state, vmap

        torch.set_num_threads(threads)
        self.device, self.batch, self.chunk = device, sizes[3], runs
        self.contexts, self.targets = _data(sizes[1], device)
        networks = [_module(sizes).to(device) for _ in range(runs)]
        parameters, _ = stack_module_state(networks)
        self.parameters = {name: array.detach() for name, array in parameters.items()}

        def loss(parameters, x, y):
            logits = functional_call(networks[0], parameters, (x,))
            return torch.nn.functional.cross_entropy(logits, y)

        self.gradient = vmap(grad(loss))

    def run(self, count: int) -> None:
        import torch

        for _ in range(count // self.chunk):
            shape = (self.chunk, self.batch)
            examples = torch.randint(0, len(self.targets), shape, device=self.device)
            found = self.gradient(self.parameters, self.contexts[examples], self.targets[examples])
            for name, array in self.parameters.items():
                array.add_(found[name], alpha=-RATE)
        if self.device != "cpu":
            torch.cuda.synchronize()


def _data(block: int, device: str):
    import numpy as np
    import torch

    from fanin.corpus import Corpus, bundled_names

    corpus = Corpus.of(bundled_names(), block=block)
    contexts = torch.from_numpy(corpus.train.contexts.astype(np.int64))
    return contexts.to(device), torch.from_numpy(corpus.train.targets.astype(np.int64)).to(device)


def _module(sizes: Sequence[int]):
    import torch

    embedding, block, hidden, _ = sizes
    return torch.nn.Sequential(
        torch.nn.Embedding(27, embedding),
        torch.nn.Flatten(),
        torch.nn.Linear(embedding * block, hidden),
        torch.nn.Tanh(),
        torch.nn.Linear(hidden, 27),
    )
