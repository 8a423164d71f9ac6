"""Peek-a-Boo on ImageNet or images like it: `python train_imagenet.py --help`."""

import sys

from tfprune.cli.programs import train_imagenet

if __name__ == "__main__":
    sys.exit(train_imagenet())
