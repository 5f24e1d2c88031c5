"""Sets of genes: how they are given, scored, and judged by what a reference held out. Writes to no AnnData."""
