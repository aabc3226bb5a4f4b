"""The tests: one module per module of the package, and the whole from end to end."""
