"""Fitted models inside an AnnData: fitted by any method of the table, kept, read. No prediction is written here."""
