"""What is published: files that are fetched once and checked, and the index of references. Knows no AnnData."""
