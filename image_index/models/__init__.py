"""Which model (`names`, `registry`), how its files are had (`hub`), and its towers without torch.

`tower_export` writes the towers, the graphs of plain ones by `clip_graph`; `graph_weights` says where their weights
stand, `tower_files` keeps them, `graph` runs them: `text_tower` over the ids of `tokens`, `image_tower` over pixels.
Start with `names.parse_model`.
"""
