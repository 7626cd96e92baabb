"""What `fanin race` and `fanin map` share where several processes run them."""

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Group, Parameter

from fanin.cli.output import WHOLE, printable
from fanin.errors import OptionError

if TYPE_CHECKING:
    from fanin.race import Processes

LOST = 1
INTERRUPTED = 130

_PROCESSES = Group("Processes", sort_key=5)

Coordinator: TypeAlias = Annotated[str | None, Parameter(group=_PROCESSES, metavar="HOST:PORT")]
Count: TypeAlias = Annotated[int | None, WHOLE, Parameter(name="--processes", group=_PROCESSES)]
Number: TypeAlias = Annotated[int | None, WHOLE, Parameter(name="--process", group=_PROCESSES)]
Wait: TypeAlias = Annotated[float | None, Parameter(group=_PROCESSES, show_default="60")]


def come_together(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    wait: float | None,
    *,
    quiet: bool,
) -> "Processes":
    """The processes that the options name, or a cluster, or this one alone."""
    from fanin.race import join
    from fanin.race.joining import WAIT, only_this_machine, place_in_cluster
    from fanin.race.processes import ALONE

    seconds = WAIT if wait is None else wait
    if coordinator is None and processes is None and process is None:
        place = place_in_cluster()
        if place is None:
            if wait is not None:
                raise OptionError("--wait is for several processes; give --coordinator too")
            return ALONE
        coordinator, processes, process = place.coordinator, place.processes, place.process
    if coordinator is None or processes is None or process is None:
        raise OptionError(
            "--coordinator, --processes and --process go together; give all three, or none"
        )
    if process == 0 and processes > 1 and (found := only_this_machine(coordinator)):
        print(
            f"fanin: {printable(coordinator)} is {found} here, where other machines cannot reach "
            "it; give --coordinator this machine's address in the network",
            file=sys.stderr,
        )
    team = join(coordinator, processes, process, wait=seconds)
    if process == 0 and processes > 1 and not quiet:
        print(f"{processes:,} processes at {printable(coordinator)}", file=sys.stderr)
    return team


def help_along(work: Generator[Any, None, None], team: "Processes") -> int:
    """What a process other than the first does: its share, and no word unless that is lost."""
    from contextlib import closing

    from fanin.race import ProcessLost

    try:
        with team, closing(work):
            for _ in work:
                pass
    except ProcessLost as lost:
        print(f"fanin: process {team.index}: {lost}", file=sys.stderr)
        return LOST
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def end(code: int) -> None:
    """Ends this process where it has not taken leave of the others.

    JAX would wait for them at the end, and then abort.
    """
    if "fanin.race.joining" not in sys.modules:
        return
    import jax

    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
