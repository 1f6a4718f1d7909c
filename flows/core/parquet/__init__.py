"""Exports as Parquet files: schema, conversion, the manifest of a data set."""
