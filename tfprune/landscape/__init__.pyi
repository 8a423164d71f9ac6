from .hessian import Curvature as Curvature
from .hessian import UnconvergedWarning as UnconvergedWarning
from .hessian import curvature as curvature
from .objective import BatchNorm as BatchNorm
from .sections import Section as Section
from .sections import section as section
