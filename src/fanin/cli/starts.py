"""`fanin starts`."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from fanin.cli.output import print_json

SCHEMA = "fanin.starts/1"


def starts(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the starts, a line each with its source, and the options of their names.

    Parameters
    ----------
    json
        One JSON object on standard output, with the rules of each, and nothing else there.
    """
    from fanin.starts import OPTIONS, SCHEMES

    if json:
        options = {
            option.name: {"summary": option.summary, "takes": option.takes}
            for option in OPTIONS.values()
        }
        schemes = [asdict(scheme) for scheme in SCHEMES.values()]
        print_json(SCHEMA, {"starts": schemes, "options": options})
        return 0
    width = max(map(len, SCHEMES)) + 2
    for scheme in SCHEMES.values():
        print(f"{scheme.name:<{width}}{scheme.summary} ({scheme.source})")
    print(
        "\nA scheme file is a start too: fanin search writes one, found.json, that can be edited."
    )
    print("Options follow the name: kaiming-normal:gain=1, orthogonal:gain=1.6,output=0.1")
    for option in OPTIONS.values():
        print(f"  {option.name:<{width}}{option.summary}: {option.takes}")
    return 0
