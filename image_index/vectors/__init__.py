"""The files derived from the catalog's vectors: which are near (FAISS), and what a score is worth (`moments`).

`build` writes them, `open_index` reads them, `derived_file` tells whether one is whole. Start with
`open_index.FaissIndex`.
"""
