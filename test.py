"""Evaluates a model: `python test.py --help`."""

import sys

from tfprune.cli.programs import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
