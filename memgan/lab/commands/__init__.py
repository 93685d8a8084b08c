"""The commands of `memgan`, a module each: `add` declares its options, `run` carries it out. `cli` lists them."""
