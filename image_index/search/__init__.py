"""`imgidx search`, `dupes` and `tag`: queries, how they become vectors (`encode`), and which pictures are best.

Start with `ranking`.
"""
