"""Running a step of a maintenance window: a program, or an HTTP call."""
