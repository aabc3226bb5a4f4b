"""The HTTP interface of an index: `imgidx serve`, installed with the extra `web`.

Start with `app`, where the routes are; `server` listens, and `access` stands before every route.
`index_queue`, `queue_runner` and `queue_worker` leave training sessions to the workers of a Redis (extra `queue`).
"""
