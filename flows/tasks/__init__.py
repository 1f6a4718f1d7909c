"""One Prefect task per stage: each opens what it needs, calls one function, returns a small value."""
