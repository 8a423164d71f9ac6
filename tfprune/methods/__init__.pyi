from . import dpp as dpp
from . import ekg as ekg
from . import multiprize as multiprize
from . import peekaboo as peekaboo
from . import tickets as tickets
