"""A training step: fanin beside hand-written JAX, PyTorch and NumPy, on one core.

All draw their mini-batches within the step, and are raced once they have given the same losses on
the same batches. Small batches on a CPU are what makes a compiled loop look as good as it does: the
numbers are few, so the price of calling each operation from Python is most of an eager step.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest import Contestant, Failure, Place, Times, closing_all, take_turns
from benchmarks.setting import NO_GPU, Setting, duration, megabytes, table
from benchmarks.step_problem import Sizes, problem_files

SIZES = (Sizes(3, 4, 100, 32), Sizes(10, 3, 200, 32), Sizes(24, 8, 512, 128))
QUICK = (Sizes(2, 2, 8, 4),)
PRODUCTS, HAND_WRITTEN = "its matrix products alone", "JAX by hand"
FANIN, NOTEBOOK = "**fanin**", "fanin, notebook's loop"
EAGER, COMPILED = "PyTorch eager", "PyTorch, torch.compile"
MAKERS = {
    PRODUCTS: "step_contenders:ProductsAlone",
    FANIN: "step_contenders:Fanin",
    HAND_WRITTEN: "step_contenders:HandWrittenJax",
    "NumPy by hand": "step_contenders:NumpyByHand",
    COMPILED: "step_torch:TorchCompiled",
    EAGER: "step_torch:TorchEager",
    NOTEBOOK: "step_contenders:FaninNotebook",
}
ON_GPU = {name: MAKERS[name] for name in (FANIN, HAND_WRITTEN, COMPILED, EAGER)}
TOLERANCE = 1e-4


def measure(setting: Setting) -> str:
    peak = peak_of_products(setting)
    parts = [f"A float32 matrix product of 1024 runs at {peak / 1e9:.0f} GFLOP/s on one core."]
    every = QUICK if setting.quick else SIZES
    with tempfile.TemporaryDirectory() as folder:
        for sizes, path in zip(every, problem_files(every, Path(folder), setting.one), strict=True):
            parts.append(of_sizes(setting, sizes, path, peak))
    return "\n\n".join(parts)


def peak_of_products(setting: Setting) -> float:
    """Operations a second of a large product on one core, by the better of NumPy and JAX."""
    products = {
        by: [Contestant("benchmarks.step_contenders:LargeProduct", by, at=setting.one)]
        for by in ("numpy", "jax")
    }
    with closing_all(products):
        times = take_turns(products, setting.rounds, setting.seconds(1.0))
    return 2 * 1024**3 / min(map(times.median, products))


def of_sizes(setting: Setting, sizes: Sizes, path: str, peak: float) -> str:
    contestants, notes = contestants_for(setting, path)
    with closing_all(contestants):
        times = take_turns(contestants, setting.rounds, setting.seconds(3.0))
        agree({name: group[0].facts for name, group in contestants.items()})
        memory = {name: group[0].peak for name, group in contestants.items()}
    rows = [
        [
            name,
            duration(times.median(name)),
            *(_ratio(times, name, other) for other in (PRODUCTS, HAND_WRITTEN, EAGER)),
            f"{sizes.flops / times.median(name) / peak:.1%}" if "GPU" not in name else None,
            megabytes(memory[name]),
        ]
        for name in sorted(contestants, key=times.median)
    ]
    rows += [[note, *[None] * 6] for note in notes]
    header = [f"{sizes}", "a step", "÷ products", f"÷ {HAND_WRITTEN}", f"÷ {EAGER}"]
    return (
        f"Embedding/block/hidden/batch {sizes}, {sizes.flops:,} operations in products:\n\n"
        + table([*header, "of the peak", "peak memory"], rows)
    )


def contestants_for(setting: Setting, path: str) -> tuple[dict[str, list[Contestant]], list[str]]:
    """Those that can run here, and notes on those that cannot."""
    ready: dict[str, list[Contestant]] = {}
    notes: list[str] = []

    def enter(name: str, maker: str, at: Place, *arguments: Any) -> None:
        try:
            ready[name] = [Contestant(f"benchmarks.{maker}", path, *arguments, at=at)]
        except Failure as failure:
            if "torch" not in maker:  # which may be missing, or lack a C++ compiler
                raise
            notes.append(f"{name}: not measured: {failure}")

    for name, maker in MAKERS.items():
        if not (setting.quick and name == COMPILED):
            enter(name, maker, setting.one)
    for name, maker in ON_GPU.items():
        framework = "torch" if "torch" in maker else "jax"
        if framework in setting.gpus:
            at = Place(setting.cores, platform="gpu")
            enter(f"{name}, GPU", maker, at, *(["cuda"] if framework == "torch" else []))
    if not setting.gpus:
        notes.append(f"on a GPU: {NO_GPU}")
    return ready, notes


def agree(facts: dict[str, dict[str, Any]]) -> None:
    """Raises ValueError where the losses of the same batches differ."""
    reference = facts[HAND_WRITTEN]["losses"]
    for name, told in facts.items():
        for a, b in zip(reference, told.get("losses", reference), strict=True):
            # A GPU's products may be of fewer digits.
            if abs(a - b) > TOLERANCE * (100 if "GPU" in name else 1):
                raise ValueError(f"{name}: a loss of {b:.6f} where {HAND_WRITTEN} has {a:.6f}")


def _ratio(times: Times, name: str, other: str) -> str | None:
    return f"{times.ratio(name, other):.2f}" if other in times.seconds else None
