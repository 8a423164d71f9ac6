"""EKG, or another method, on CIFAR-10, CIFAR-100 or the embedded digits: `python train_cifar.py --help`."""

import sys

from tfprune.cli.train_cifar import main

if __name__ == "__main__":
    sys.exit(main())
