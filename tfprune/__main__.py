"""`python -m tfprune` is `tfprune`."""

import sys

from tfprune.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
