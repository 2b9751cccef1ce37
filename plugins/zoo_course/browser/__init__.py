"""The interactive page of the course: small networks, trained when the page is made, that run in a browser.

The page is one file without modules or requests, so that it opens from disk. Its script repeats the noise
(`zoo_core.seeds`), the networks and the samplers of Python, so that sample k is the same in both.
"""
