"""Set-up from environment variables and mgob's plan files: `python -m deployments.setup`.

It goes in one direction: variables → settings → what should be there → what is different → the Prefect server. Nothing
before the last step changes anything.
"""
