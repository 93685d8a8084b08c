"""The laboratory around `memgan`: the command line, the judge and its metrics, baselines and studies.

Here is what measures and compares; the method itself, and everything that a model needs, is in `memgan`, which never
imports this package.
"""
