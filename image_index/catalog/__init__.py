"""SQLite, the truth: files, facts, vectors, failures, runs.

`schema` makes the tables, `reader` reads, `catalog` writes; `filters` chooses rows, `lock` keeps a second writer out.
Start with `catalog.Catalog.record`.
"""
