"""The replay store: rows with priorities and generations, and who leaves when it is full (SPEC 2.4)."""
