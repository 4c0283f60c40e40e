"""The entry point `comface`. It imports nothing at its top, so that Ctrl-C is caught from the first moment on."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended: nothing had been started."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        from comface.commands.program import run_program
    except KeyboardInterrupt:
        sys.stderr.write("comface: interrupted before anything was started.\n")
        return INTERRUPTED
    return run_program(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
