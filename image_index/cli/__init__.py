"""The command line: parse into a dataclass, make one call, present the result."""
