"""What is done to an index on purpose: `verify`, `maintenance`, `export`; and what is said of it: `doctor`, `health`,
`known`.

Start with `verify.verify`.
"""
