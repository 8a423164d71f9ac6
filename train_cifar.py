"""EKG, or another method, on CIFAR-10, CIFAR-100 or the embedded digits: `python train_cifar.py --help`."""

import sys

from tfprune.cli.programs import train_cifar

if __name__ == "__main__":
    sys.exit(train_cifar())
