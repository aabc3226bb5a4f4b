"""Which model (`names`, `registry`), how its files are had (`hub`), and its text tower without torch.

`tower_export` writes the tower, `tower_files` keeps it, `tower` runs it over the ids of `tokens`. Start with
`names.parse_model`.
"""
