"""The architectures that there are, by family."""

from tfprune.models.network_options import Start
from tfprune.models.plan import Plan
from tfprune.models.resnet import ResNet

_SMALL = (16, 32, 64)
_DOUBLE = (32, 64, 128)
_LARGE = (64, 128, 256, 512)
_KAIMING_OUT = Start(mode="fan_out")

_RESNETS = {
    "ResNet-20": ResNet((3, 3, 3), _SMALL),
    "ResNet-32": ResNet((5, 5, 5), _SMALL),
    "ResNet-44": ResNet((7, 7, 7), _SMALL),
    "ResNet-56": ResNet((9, 9, 9), _SMALL),
    "ResNet-110": ResNet((18, 18, 18), _SMALL),
    "ResNet-18": ResNet((2, 2, 2, 2), _LARGE),
    "ResNet-34": ResNet((3, 4, 6, 3), _LARGE),
    "ResNet-50": ResNet((3, 4, 6, 3), _LARGE, bottleneck=True),
    "ResNet-101": ResNet((3, 4, 23, 3), _LARGE, bottleneck=True),
    "ResNet-152": ResNet((3, 8, 36, 3), _LARGE, bottleneck=True),
}

GROUPS: dict[str, dict[str, Plan]] = {"resnet": dict(_RESNETS)}
PLANS: dict[str, Plan] = {name: plan for group in GROUPS.values() for name, plan in group.items()}
