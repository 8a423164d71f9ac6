from tfprune.recipes.models import *
