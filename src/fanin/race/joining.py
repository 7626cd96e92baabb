"""How several processes come together: by an address that all are given, or as a cluster tells.

Process 0 listens at the address's port for JAX's own coordinator (`jax.distributed`, which ends
all of them where one freezes) and at the port after it for what processes tell each other
(`fanin.race.processes`). Both are bound to the host that was given, and to no other interface.
"""

import ipaddress
import os
import resource
import selectors
import socket
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any, final

import jax
import msgspec

from fanin.errors import OptionError
from fanin.race.devices import has_begun, use_all_cores
from fanin.race.links import Gone, Link
from fanin.race.processes import ALONE, Processes

WAIT = 60.0
"""Seconds that processes wait for each other, unless told."""

HEARTBEAT_SECONDS = 20
"""After so long without a sign of life JAX takes a process for dead."""

_FIRST_WORD_SECONDS = 2.0
_MOST_FIRST = 10_000  # bytes of a first message
_LARGEST_PORT = 65535


class _Hello(msgspec.Struct, forbid_unknown_fields=True):
    process: int
    processes: int
    fanin: str
    jax: str


def join(coordinator: str, processes: int, process: int, *, wait: float = WAIT) -> Processes:
    """Come together with the other processes; each gives the same but its own number, `process`.

    `coordinator` is HOST:PORT, an address of process 0's machine that the others can reach. To be
    called before JAX computes anything. Raises OptionError where it has, for an address that cannot
    be used and for processes that do not come within `wait` seconds or do not fit.
    """
    if processes < 1 or not 0 <= process < processes:
        raise OptionError(
            f"process {process} of {processes}: processes are numbered from 0 to their count less 1"
        )
    if not wait > 0:
        raise OptionError(f"wait is {wait:g}; give seconds above 0")
    host, port = _address(coordinator)
    if processes == 1:
        use_all_cores()
        return ALONE
    until = time.monotonic() + wait
    hello = _Hello(process, processes, version("fanin"), jax.__version__)
    try:
        links = _welcomed(host, port, hello, until) if process else _all(host, port, hello, until)
    except socket.gaierror as error:
        raise OptionError(f"{coordinator}: {host} is not known here: {error.strerror}") from None
    if not jax.distributed.is_initialized():
        if has_begun():
            for link in links.values():
                link.close()
            raise OptionError(
                "JAX has begun already, and processes come together before that; what makes it "
                "begin is an array at the top of a module, say (of an activation's, perhaps)"
            )
        # A process that is told to end ends: the service would catch SIGTERM.
        jax.config.update("jax_enable_preemption_service", False)
        # There is no collective, and each process would listen for one at a port of its own.
        jax.config.update("jax_cpu_collectives_implementation", None)
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            coordinator_bind_address=coordinator,
            cluster_detection_method="deactivate",
            initialization_timeout=max(1, int(wait)),
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    use_all_cores()
    return Processes(process, processes, links)


@final
class Place(msgspec.Struct, frozen=True):
    """Which of several processes one is: `join`'s arguments."""

    coordinator: str
    processes: int
    process: int


def place_in_cluster() -> Place | None:
    """What Slurm, Open MPI (to 4), Cloud TPU or an indexed job of Kubernetes tells JAX of this one.

    None outside of them, and for a process that was started alone. Raises OptionError where a
    cluster is there and does not tell.
    """
    # A pod that is no part of an indexed job is nothing to join.
    if "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" not in os.environ:
        return None
    from jax._src.clusters import ClusterEnv

    try:
        found: tuple[Any, ...] = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, [], None, int(WAIT)
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise OptionError(
            f"the cluster does not tell which process this is ({error}); give --coordinator, "
            "--processes and --process"
        ) from None
    coordinator, processes, process, _ = found
    if coordinator is None or processes is None or process is None or processes < 2:
        return None
    return Place(coordinator, processes, process)


def only_this_machine(coordinator: str) -> str | None:
    """The address that the host means here, where no other machine can reach that one.

    None where others can, and for a host that says so itself, as localhost does.
    """
    host, port = _address(coordinator)
    if host == "localhost" or _is_loopback(host):
        return None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror:  # `join` says so
        return None
    return str(found) if _is_loopback(str(found)) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(coordinator: str) -> tuple[str, int]:
    host, colon, port = coordinator.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 1 <= int(port) <= _LARGEST_PORT:
        raise OptionError(
            f"the coordinator {coordinator!r} is not HOST:PORT, as in 10.0.0.1:9876 or [::1]:9876"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def _own_port(port: int) -> int:
    return port + 1 if port < _LARGEST_PORT else port - 1


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OptionError(
            f"process 0 cannot listen at {host}, port {port}: {os.strerror(error.errno or 0)}; "
            "give --coordinator an address of its own machine, and a port that is free, as the "
            "next one must be"
        ) from None


def raise_most_files() -> None:
    """As many open files as the system grants: there are two connections to each process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _all(host: str, port: int, mine: _Hello, until: float) -> dict[int, Link]:
    """Process 0's: a link to each other one, once all are there."""
    raise_most_files()
    _listen(host, port).close()  # the coordinator would share a port with another one
    links: dict[int, Link] = {}
    with _listen(host, _own_port(port)) as server, selectors.DefaultSelector() as waiting:
        server.setblocking(False)
        waiting.register(server, selectors.EVENT_READ)
        while len(links := _there(links)) < mine.processes - 1:
            left = until - time.monotonic()
            if left <= 0:
                _refuse(links, "process 0 waited no longer for the others")
                missing = sorted(set(range(1, mine.processes)) - links.keys())
                shown = ", ".join(map(str, missing[:20])) + (", …" if len(missing) > 20 else "")
                raise OptionError(
                    f"of {mine.processes} processes these did not come to {host}, port "
                    f"{_own_port(port)}, in time: {shown}; --wait gives them longer"
                )
            if not waiting.select(left):
                continue
            try:
                connection = server.accept()[0]
            except OSError:  # it has gone again
                continue
            if (introduced := _introduced(connection, mine, _there(links))) is not None:
                links[introduced[0]] = introduced[1]
    for place, link in links.items():
        try:
            link.send(b"")
        except Gone:
            reason = f"process {place} ({link.address}) has ended as soon as all were there"
            _refuse(links, reason)
            raise OptionError(reason) from None
    return links


def _there(links: dict[int, Link]) -> dict[int, Link]:
    """Without the processes that came and have ended: another one may come in the place of each."""
    found: dict[int, Link] = {}
    for place, link in links.items():
        try:
            link.take_in()
            found[place] = link
        except Gone:
            link.close()
    return found


def _introduced(
    connection: socket.socket, mine: _Hello, links: dict[int, Link]
) -> tuple[int, Link] | None:
    """The process that a new connection is of; None where it is none that is waited for."""
    connection.settimeout(_FIRST_WORD_SECONDS)
    try:
        link = Link(connection, most=_MOST_FIRST)
        theirs = msgspec.json.decode(link.receive(), type=_Hello)
    except (Gone, OSError, msgspec.DecodeError, UnicodeDecodeError):
        connection.close()
        return None
    link = Link(connection)
    connection.settimeout(None)
    if (reason := _misfit(mine, theirs, links)) is not None:
        with suppress(Gone):
            link.send(reason.encode())
        link.close()
        return None
    return theirs.process, link


def _misfit(mine: _Hello, theirs: _Hello, links: dict[int, Link]) -> str | None:
    if theirs.processes != mine.processes:
        return (
            f"process 0 is one of {mine.processes}, this one of {theirs.processes}: give all the "
            "same --processes"
        )
    if theirs.process in links or not 0 < theirs.process < mine.processes:
        return f"there is a process {theirs.process} already; give each a --process of its own"
    for package in ("fanin", "jax"):
        here, there = getattr(mine, package), getattr(theirs, package)
        if here != there:
            return f"process 0 has {package} {here}, this one {there}: give all the same version"
    return None


def _refuse(links: dict[int, Link], reason: str) -> None:
    for link in links.values():
        with suppress(Gone):
            link.send(reason.encode())
        link.close()


def _welcomed(host: str, port: int, mine: _Hello, until: float) -> dict[int, Link]:
    """Another process's: its link to process 0, once all are there."""
    own, why = _own_port(port), "nobody is there"
    while (left := until - time.monotonic()) > 0:
        try:
            connection = socket.create_connection((host, own), timeout=left)
        except socket.gaierror:
            raise
        except OSError as error:  # it may not have begun to listen
            why = error.strerror or str(error)
            time.sleep(min(0.1, left))
            continue
        try:
            link = Link(connection)
            link.send(msgspec.json.encode(mine))
            # Process 0 waits as long as this one, and says so when it waits no longer.
            connection.settimeout(left + _FIRST_WORD_SECONDS)
            reason = link.receive()
        except (Gone, OSError) as error:
            connection.close()
            why = str(error)
            time.sleep(min(0.1, left))
            continue
        if reason:
            link.close()
            raise OptionError(reason.decode(errors="backslashreplace"))
        connection.settimeout(None)
        return {0: link}
    raise OptionError(
        f"process 0 was not found at {host}, port {own}: {why}; is it started, and is that its "
        "address? --wait gives it longer"
    )
