"""Results as JSON, text and HTML; nothing here reads an index or prints.

A module for each subject has its JSON record, whose keys are pinned, and its text. Start with `hits`.
"""
