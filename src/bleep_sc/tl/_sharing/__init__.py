"""The folder of a reference that is given away. Nothing here fits or predicts."""
