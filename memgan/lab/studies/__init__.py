"""How do configurations compare, over several seeds? Grids, the runs of each, their result file, tables and figures."""
