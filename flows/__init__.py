"""MongoDB backups as Prefect flows. Imports nothing, so that any flow can be loaded by its module path alone."""
