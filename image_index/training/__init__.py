"""`imgidx train`: scan, plan, embed, record, build.

`survey` and `plan` decide what to do, `freshness` and `tower_update` bring the derived files up to date; `request` is
how a caller says what to do, and `watch` what to do next, as often as something changes. Start with
`pipeline.update_index`.
"""
