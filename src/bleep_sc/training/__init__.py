"""Training on arrays and tensors: data, loop, devices. Its configuration is plain data."""
