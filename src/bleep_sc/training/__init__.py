"""Training on arrays: data, loop, devices, processes. It has never heard of AnnData, and writes no prediction."""
