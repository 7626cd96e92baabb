"""`fanin lab`."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fanin.cli.output import WHOLE
from fanin.errors import OptionError
from fanin.interrupts import leave, worth_keeping

if TYPE_CHECKING:
    from fanin.lab.server import Place


def lab(
    *,
    edit: Annotated[bool, Parameter(negative="")] = False,
    export: Annotated[str | None, Parameter(metavar="FILE")] = None,
    port: Annotated[int | None, WHOLE] = None,
    host: str = "127.0.0.1",
    no_browser: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Open the lesson on initialisation: prose, controls, and networks that train as you watch.

    It runs on this machine and loads nothing from another. The address holds a token: whoever has
    it can use the page.

    Parameters
    ----------
    edit
        Open a copy, fanin_lesson.py in this folder, as a notebook whose cells can be changed. Who
        may edit can run programs as you, and read your files.
    export
        Write the page with its results as one file that opens without a server, and end.
    port
        Port to listen on; left out: one that is free.
    host
        Address to listen on; other than the default, others can reach the page.
    no_browser
        Print the address and open no browser.
    """
    missing = [name for name in ("marimo", "anywidget", "uvicorn") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"the lab needs {' and '.join(missing)}, and not all of it is installed: "
            'pip install "fanin[lab]"'
        )
    if export is not None:
        if edit:
            raise OptionError("--edit and --export exclude each other; choose one")
        from fanin.lab.export import export_lesson

        export_lesson(export)
        print(f"fanin: written: {export}", file=sys.stderr)
        return 0
    from fanin.lab import server

    def announce(place: "Place") -> None:
        print(place.address, flush=True)
        if place.is_open_to_others:
            print(f"fanin: others can reach this page, at {place.host}", file=sys.stderr)
        if edit:
            print(
                f"fanin: {server.COPY} is yours to change. Who has this address can run programs "
                "as you and read your files: keep it to yourself.",
                file=sys.stderr,
            )
        print("fanin: Ctrl-C ends it", file=sys.stderr)
        if not no_browser:
            server.open_browser(place)

    worth_keeping()
    try:
        (server.edit if edit else server.serve)(host=host, port=port, on_ready=announce)
    except KeyboardInterrupt:
        # A tab's cells may still compute in their threads, and XLA aborts what ends meanwhile.
        leave()
    return 0
