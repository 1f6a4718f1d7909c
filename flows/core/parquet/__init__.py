"""BSON documents to Parquet without a loss: profile, schema, two engines, and the way back. See `EXPORT.md`."""
