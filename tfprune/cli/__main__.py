"""`python -m tfprune.cli` is `tfprune`."""

import sys

from tfprune.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
