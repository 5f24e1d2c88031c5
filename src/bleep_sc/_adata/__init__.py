"""AnnData: its keys, what it must hold, where and what its spots are. Nothing here trains, draws or writes files."""
