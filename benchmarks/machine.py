"""The machine that the benchmarks ran on, as the page tells it."""

import json
import subprocess
import sys

# In processes of their own, so that what they load is no weight on those that are measured.
THIS_MACHINE = """
import dataclasses, json
from importlib.metadata import PackageNotFoundError, version
from fanin.race.machine import this_machine
machine = dataclasses.asdict(this_machine())
try: machine["versions"]["torch"] = version("torch")
except PackageNotFoundError: pass
print(json.dumps(machine))
"""
JAX_GPU = "import jax; print(jax.devices('gpu')[0].device_kind)"
TORCH_GPU = "import torch; print(torch.cuda.get_device_name())"


def description(cores: int, seen: dict[str, str]) -> str:
    """Processor, cores used, GPU, system and versions, in a line each."""
    machine = json.loads(_said(THIS_MACHINE))
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = " and ".join(sorted(set(seen.values()))) or "none"
    return (
        f"- processor: {machine['cpu']}, {cores} core{'s' * (cores > 1)} used\n"
        f"- GPU: {gpu}\n- system: {machine['system']}\n- versions: {versions}"
    )


def gpus() -> dict[str, str]:
    found: dict[str, str] = {}
    for framework, program in (("jax", JAX_GPU), ("torch", TORCH_GPU)):
        try:
            found[framework] = _said(program)
        except subprocess.CalledProcessError:
            continue
    return found


def _said(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()
