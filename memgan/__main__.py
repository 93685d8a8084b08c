"""`python -m memgan`, and the command `memgan`: both are `memgan.lab.commands.cli`."""

import sys

from memgan.lab.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
