"""The only room that parses options, prints, and exits. Each command reads its options,
makes one call and shows the result.

Start with `app.run`, where errors become exit codes.
"""
