from . import data as data
from . import dpp as dpp
from . import ekg as ekg
from . import models as models
from . import multiprize as multiprize
from . import peekaboo as peekaboo
from . import tickets as tickets
from . import training as training
