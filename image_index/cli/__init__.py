"""The only room that prints, parses and exits: each command reads its options, makes one call and presents the result.

Start with `app.run`, where errors become exit codes.
"""
