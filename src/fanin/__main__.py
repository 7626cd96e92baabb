"""`python -m fanin`, and the command `fanin`."""

import sys

from fanin.interrupts import leave_at_once


def main() -> int:
    """Runs the command line and gives the exit code."""
    leave_at_once()  # before all that takes time to load
    from fanin.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
