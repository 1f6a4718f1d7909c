"""BSON documents to Parquet without a loss: profile, schema, two engines, and the way back. See `EXPORT.md`."""

import os

# Before Arrow is loaded: its own allocators keep, for each thread that writes or reads a file, about what a row group
# takes. That of the system gives it back, and is no slower here.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
