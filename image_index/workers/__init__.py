"""The preloaded children, which the project exists for: the model is loaded in the process that uses it.

In the parent: `engine`, `pool`, `work_queue`, `child`. Between: `channel`, `messages`, `devices`. In the child:
`child_main`, `embed`, `encoder`, `self_test`. Start with `pool.ChildPool.embed`.
"""
