"""The command line: `python -m flows`."""

import sys

from flows.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
