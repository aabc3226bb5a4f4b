"""SQLite, the truth: files, facts, vectors, failures, runs.

`schema` makes the tables, `database` is an open file of them, `reader` reads and `catalog` writes; `filters` chooses
rows, `query_memory` keeps the vectors of texts, `lock` keeps a second writer out. Start with `catalog.Catalog.record`.
"""
