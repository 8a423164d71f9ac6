from tfprune.recipes.ekg import *
from tfprune.search import *
