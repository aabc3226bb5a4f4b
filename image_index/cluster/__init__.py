"""The pool over many machines: on each of them a node runs the local pool of `image_index.workers`, unchanged.

In the driver, which is the parent of the run: `pool`, `client`. Between: `messages`, `paths`. In a child of the driver:
`client_main` and `rays`, the only module that imports Ray. On a machine of the cluster: `node`. Start with
`pool.ClusterPool.embed`.
"""
