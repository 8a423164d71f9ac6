"""Evaluates a model: `python test.py --help`."""

import sys

from tfprune.cli.test import main

if __name__ == "__main__":
    sys.exit(main())
