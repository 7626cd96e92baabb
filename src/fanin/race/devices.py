"""The devices that a race runs on: every core of the processor, or every accelerator."""

import os
from functools import lru_cache

import jax
from jax._src import xla_bridge
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fanin.race.machine import cores

# How many runs a device trains side by side, by platform. On a CPU a wider tile gains little: on an
# AMD EPYC a run's step took 24.8, 21.3 and 22.1 µs at widths of 1, 4 and 8 with embedding 4 and
# hidden 100, and 46.6, 45.2 and 46 µs with 10 and 200. It would lose more: two runs of a race
# would share one core, and most places of the last tile would stand empty. On accelerators a
# step of one small network is all dispatch; a race times a few widths there (widths.py).
_TILE = {"cpu": 1}
_TILE_ELSEWHERE = 128

MEMORY_SHARE = 0.25
"""Of a device's memory, for the states of the runs that move together: there are two of each
while a step is computed, and activations besides."""


def has_begun() -> bool:
    """Whether JAX has its devices already, and keeps them as they are."""
    return xla_bridge.backends_are_initialized()


def use_all_cores() -> None:
    """Begins JAX with each core as a device; where it has begun, it has what it has."""
    if has_begun():
        return
    jax.config.update("jax_num_cpu_devices", cores())
    # Where each core has its own work, XLA's threads, as many again and shared by all devices, only
    # get in the way: a fifth of a map's time. It reads how many there are to be when it begins.
    before = os.environ.get("PJRT_NPROC")
    os.environ["PJRT_NPROC"] = "1"
    try:
        jax.devices()
    finally:
        if before is None:
            del os.environ["PJRT_NPROC"]
        else:
            os.environ["PJRT_NPROC"] = before


def tile_width() -> int:
    """How many runs a device trains side by side where nothing is timed; a run's last bits hang
    on it."""
    return _TILE.get(jax.default_backend(), _TILE_ELSEWHERE)


def memory_for_states() -> int:
    """The bytes that runs which move together may take, on all devices of this process."""
    if jax.default_backend() == "cpu":
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        found = (device.memory_stats() or {} for device in jax.local_devices())
        whole = sum(stats.get("bytes_limit", 2**33) for stats in found)
    return int(whole * MEMORY_SHARE)


@lru_cache(maxsize=1)
def mesh() -> Mesh:
    """This process's devices, along the one axis "runs"."""
    return jax.make_mesh((jax.local_device_count(),), ("runs",), devices=jax.local_devices())


def by_runs() -> NamedSharding:
    """Each device with its share of the runs."""
    return NamedSharding(mesh(), PartitionSpec("runs"))


def everywhere() -> NamedSharding:
    """Each device with all of it."""
    return NamedSharding(mesh(), PartitionSpec())
