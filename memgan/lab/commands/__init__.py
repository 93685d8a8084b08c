"""The commands of `memgan`, a module each: `add` declares one, `run` carries it out."""
