"""Arrays that pass by in parts, in memory or not. Nothing here knows AnnData or torch."""
