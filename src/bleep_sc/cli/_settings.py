"""What the commands have in common."""

N_TOP_GENES = {"toy": 40, "her2st": 1000}
MIN_COUNTS = 100
ENCODER = "stain_stats"
