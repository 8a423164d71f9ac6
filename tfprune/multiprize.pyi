from tfprune.recipes.multiprize import *
