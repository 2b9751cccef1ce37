"""Many jobs: in this process one after another, or each in a process of its own, here or on a cluster.

A job is one `zoo run config=FILE` in its own process and folder. A launcher says where; the queue is the
same for all: what is done is skipped by its config's hash, what a signal ended is tried again and resumes, a
user's mistake is not.
"""
