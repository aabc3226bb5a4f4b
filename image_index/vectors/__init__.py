"""The files derived from the catalog's vectors: all of them in one piece, lists that say which are near, and moments.

`vector_file` has the vectors, which `exact_scan` compares with a query. Of a large library `build` and `grow` write
inverted lists, which `open_index` searches. `moments` say what a score is worth. `derived_file` tells whether a file is
whole. Start with `vector_file.VectorFile`.
"""
