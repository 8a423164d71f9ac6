"""Peek-a-Boo on ImageNet or images like it: `python train_imagenet.py --help`."""

import sys

from tfprune.cli.train_imagenet import main

if __name__ == "__main__":
    sys.exit(main())
