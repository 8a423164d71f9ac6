from tfprune.recipes.data import *
