import keras
from profiler_flops import kernel_flops, profiler_flops

from tfprune.graph import complexity

layers = keras.layers


def test_kernels_of_all_kinds_and_compiled_functions():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3),
            layers.Conv2D(16, 3, groups=4),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.SeparableConv2D(4, 2),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    counted = profiler_flops(model)
    assert counted["MatMul"] == 2 * 4 * 5
    assert counted["DepthwiseConv2dNative"] == 2 * 9 * 32 * 4 + 2 * 4 * 32
    assert counted["Conv2D"] == 2 * 27 * 8 * 36 + 2 * 9 * 2 * 16 * 16 + 2 * 32 * 4
    assert kernel_flops(counted) == 2 * complexity(model).macs
    assert sum(counted.values()) > kernel_flops(counted)
