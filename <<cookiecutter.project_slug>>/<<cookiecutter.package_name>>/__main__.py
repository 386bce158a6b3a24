"""`python -m <package> [stage or job] key=value ...`: the command line of this project."""

import sys
from pathlib import Path

from .machinery.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(__file__).resolve().parents[1], package=__package__))
