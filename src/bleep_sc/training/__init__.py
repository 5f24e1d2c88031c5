"""Training on arrays: data, loop, devices, processes. It has never heard of AnnData, and predicts nothing for a user."""
