"""Tests of how the flows get to where they run."""
