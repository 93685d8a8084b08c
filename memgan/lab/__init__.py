"""The laboratory around `memgan`: what trains from the command line, measures and compares.

The method itself, and everything that a model needs, is in `memgan`, which never imports this package. Its libraries
come with `pip install 'memgan[lab]'`.
"""
