"""What instruments leave: a module for every kind, with `recognises(folder)` and `read(folder, image=, ...)`.

Each returns raw counts in `X`, `obs["library_id"]`, `obsm["spatial"]` in full-resolution px, and `uns["spatial"]`,
whose `metadata` names the scan. Nothing here filters, normalises or looks at pixels.
"""
