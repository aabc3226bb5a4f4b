"""What is done to an index on purpose: `verify`, `maintenance`, `export`; and what is said of it: `status`, `known`,
`health`, `doctor`.

Start with `verify.verify`.
"""
