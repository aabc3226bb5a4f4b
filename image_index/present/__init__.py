"""Results as text, JSON and HTML; nothing here reads an index or prints.

Start with `jsonl`, whose keys are pinned.
"""
