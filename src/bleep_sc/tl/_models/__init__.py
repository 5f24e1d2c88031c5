"""Fitted models inside an AnnData, and the arrays that they take. No prediction is written here."""
