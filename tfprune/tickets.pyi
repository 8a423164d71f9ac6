from tfprune.recipes.tickets import *
