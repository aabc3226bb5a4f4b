"""From the bytes of a file to pixels and facts.

`decode` uses `jpeg`, `png`, `levels` and `layouts` (odd files of some formats), `taken` (with `timestamps`, `xmp` and
`containers`), `phash` and `truncation`; `thumbnails` makes small pictures for pages. Start with `decode.decode`.
"""
