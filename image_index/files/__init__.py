"""What lies on the disk: walk directories (`scan`), read a file once (`read`), replace one whole (`atomic`).

Start with `scan.scan`.
"""
