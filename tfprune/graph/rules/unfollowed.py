"""Operations of Keras that are left alone, each with the reason: they mix channels, or their result has none."""

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import rule
from tfprune.keras_private import core_operations as core
from tfprune.keras_private import einops_operations as einops
from tfprune.keras_private import image_operations as image
from tfprune.keras_private import linear_operations as linear
from tfprune.keras_private import math_operations as math
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

_REASONS: dict[str, tuple[type, ...]] = {
    "it calls functions, which may compute anything": (
        *(core.Map, core.Scan, core.AssociativeScan, core.Switch, core.WhileLoop, core.ForiLoop, core.Cond),
        *(core.VectorizedMap, linear.JVP),
    ),
    "it computes with whole matrices": (
        *(linear.Cholesky, linear.CholeskyInverse, linear.Det, linear.Eig, linear.Eigh, linear.Inv, linear.LuFactor),
        *(linear.Qr, linear.Solve, linear.SolveTriangular, linear.SVD, linear.Lstsq, linear.MatrixRank, linear.Pinv),
        *(math.Logdet, numpy.Slogdet, numpy.Trace, numpy.Corrcoef, numpy.Vander, numpy.Tril, numpy.Triu),
        *(numpy.Diag, numpy.Diagflat, numpy.Diagonal, numpy.Kron, numpy.Outer, numpy.Vdot, numpy.Cross, math.CDist),
    ),
    "it transforms a signal": (
        *(math.FFT, math.FFT2, math.IFFT2, math.RFFT, math.IRFFT, math.STFT, math.ISTFT, math.ExtractSequences),
        *(math.ViewAsComplex, math.ViewAsReal, numpy.Correlate),
    ),
    "it computes with the colors of images": (image.RGBToGrayscale, image.RGBToHSV, image.HSVToRGB),
    "it has no rule for coordinates and target shapes as arguments": (image.MapCoordinates, image.ScaleAndTranslate),
    "it compares whole tensors": (
        *(numpy.AllClose, image.SSIM, nn.PSNR, nn.BinaryCrossentropy, nn.CategoricalCrossentropy),
        *(nn.SparseCategoricalCrossentropy, nn.CTCLoss, nn.CTCDecode, math.InTopK),
    ),
    "it counts or searches values, whose number depends on the data": (
        *(numpy.Bincount, numpy.Histogram, numpy.Nonzero, numpy.Unique, numpy.UnravelIndex, numpy.SearchSorted),
        *(numpy.IsIn, nn.MultiHot, math.SegmentReduction, math.SegmentSum, math.SegmentMax, math.SegmentMin),
        *(math.SegmentProd,),
    ),
    "it selects or writes positions by tensors of numbers": (
        *(numpy.TakeAlongAxis, core.Scatter, core.ScatterUpdate, core.SliceUpdate),
    ),
    "it makes a tensor of a given shape": (
        *(numpy.Arange, numpy.Full, numpy.Linspace, numpy.Logspace, numpy.Geomspace, numpy.Meshgrid),
        *(numpy.Ndim, numpy.Size, numpy.Ravel),
    ),
    "it normalizes by all of them; the layer of that kind is followed": (nn.LayerNorm, nn.RMSNorm),
    "its kernel is not the weight of a layer": (nn.ConvTranspose, nn.SeparableConv),
    "it has no rule for adding overlapping windows": (nn.Fold,),
    "it has no rule for patterns of axes; write reshape and transpose": (einops.Rearrange,),
}


def _left_alone(reason: str, kinds: tuple[type, ...]) -> None:
    @rule(*kinds, several=True)
    def leave(labels: Labels, call: Call) -> None:
        labels.leave_alone(call, reason)


for _reason, _kinds in _REASONS.items():
    _left_alone(_reason, _kinds)
