"""What a prediction consists of and how it is written. Nothing here reads a reference's arrays."""
