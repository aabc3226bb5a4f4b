"""`imgidx train`: scan, plan, embed, record, build.

`survey` and `plan` decide what to do, `freshness` and `tower_update` bring the derived files up to date; `request` is
how a caller says what to do. Start with `pipeline.update_index`.
"""
