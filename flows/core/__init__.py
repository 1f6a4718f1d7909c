"""The pure part: formats, names, plans and decisions. No Prefect, no network, no clock."""
