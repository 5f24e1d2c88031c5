"""References of a prediction: read, checked, laid side by side. Nothing here writes to an AnnData."""
