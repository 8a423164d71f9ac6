from tfprune.recipes.training import *
