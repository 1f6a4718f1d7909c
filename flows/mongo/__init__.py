"""Reading a source and writing a target. PyMongo errors become ours in `errors.py`, in one place."""
