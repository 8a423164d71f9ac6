from tfprune.recipes.peekaboo import *
