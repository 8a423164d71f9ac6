"""The published methods, one package each."""
