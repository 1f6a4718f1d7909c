"""MongoDB backups as Prefect flows. Imports none of them, so that any flow can be loaded by its module path alone."""

import gc

# Imports make some hundred thousand objects that stay. With its own thresholds the collector looks through all of them
# again and again: a fifth of the time that a flow run needs to start.
gc.set_threshold(50_000, 50, 50)
