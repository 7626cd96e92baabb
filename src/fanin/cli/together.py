"""What `fanin race` and `fanin map` share where several processes run them."""

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Group, Parameter

from fanin.cli.output import WHOLE, printable
from fanin.errors import OptionError
from fanin.interrupts import INTERRUPTED, worth_keeping

if TYPE_CHECKING:
    from fanin.race import Processes
    from fanin.race.joining import Place

LOST = 1

_PROCESSES = Group("Processes", sort_key=5)

Coordinator: TypeAlias = Annotated[str | None, Parameter(group=_PROCESSES, metavar="HOST:PORT")]
Count: TypeAlias = Annotated[int | None, WHOLE, Parameter(name="--processes", group=_PROCESSES)]
Number: TypeAlias = Annotated[int | None, WHOLE, Parameter(name="--process", group=_PROCESSES)]
Wait: TypeAlias = Annotated[float | None, Parameter(group=_PROCESSES, show_default="60")]


def place_of(
    coordinator: str | None, processes: int | None, process: int | None, wait: float | None
) -> "Place | None":
    """Which of several processes this is, by the options or as a cluster tells; None of one."""
    from fanin.race.joining import Place, place_in_cluster

    if coordinator is None and processes is None and process is None:
        place = place_in_cluster()
        if place is None and wait is not None:
            raise OptionError("--wait is for several processes; give --coordinator too")
        return place
    if coordinator is None or processes is None or process is None:
        raise OptionError(
            "--coordinator, --processes and --process go together; give all three, or none"
        )
    return Place(coordinator, processes, process)


def come_together(place: "Place | None", wait: float | None, *, quiet: bool) -> "Processes":
    """All processes, once they are there."""
    from fanin.race import join
    from fanin.race.joining import WAIT, only_this_machine
    from fanin.race.processes import ALONE

    if place is None:
        return ALONE
    where, many = printable(place.coordinator), place.processes > 1
    if place.process == 0 and many and (found := only_this_machine(place.coordinator)):
        print(
            f"fanin: {where} is {found} here, where other machines cannot reach it; give "
            "--coordinator this machine's address in the network",
            file=sys.stderr,
        )
    seconds = WAIT if wait is None else wait
    team = join(place.coordinator, place.processes, place.process, wait=seconds)
    if place.process == 0 and many and not quiet:
        print(f"{place.processes:,} processes at {where}", file=sys.stderr)
    return team


def help_along(work: Generator[Any, None, None], team: "Processes") -> int:
    """What a process other than the first does: its share, and no word unless that is lost."""
    from contextlib import closing

    from fanin.race import ProcessLost

    try:
        with team, closing(work):
            for _ in work:
                worth_keeping()
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
