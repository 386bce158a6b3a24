"""The command line of this project: `python -m <package> [stage or job] key=value ...`."""

import sys
from functools import partial
from pathlib import Path

from .machinery import cli

main = partial(cli.main, root=Path(__file__).resolve().parents[1], package=str(__package__))

if __name__ == "__main__":
    sys.exit(main())
