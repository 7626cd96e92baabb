"""What a run's numbers may depend on besides its options: processor, cores and versions."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

# XLA and what it is built on choose the instructions; the rest only prepares the numbers.
_PACKAGES = ("fanin", "jax", "jaxlib", "numpy", "optax")


@final
@dataclass(frozen=True)
class Machine:
    """Runs are the same bit for bit on machines that are equal in all of this."""

    cpu: str
    cores: int
    """those that this process may use"""
    system: str
    versions: dict[str, str]

    def differences(self, other: "Machine") -> tuple[str, ...]:
        """Where the other one is not the same: "cores 2, then 4"."""
        mine, theirs = self._parts(), other._parts()
        return tuple(
            f"{name} {mine.get(name, 'none')}, then {theirs.get(name, 'none')}"
            for name in mine | theirs
            if mine.get(name) != theirs.get(name)
        )

    def _parts(self) -> dict[str, str]:
        return {
            "processor": self.cpu,
            "cores": str(self.cores),
            "system": self.system,
            **self.versions,
        }


def this_machine() -> Machine:
    """The machine and the packages that this process runs with."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a source folder that was not installed
            continue
    return Machine(_cpu(), cores(), f"{platform.system()} {platform.machine()}", versions)


def cores() -> int:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
        return found[1].strip()
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.stdout.strip():
            return answer.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"
