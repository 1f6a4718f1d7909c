"""Object stores and the repository of backups in them. boto errors become ours in one place."""
