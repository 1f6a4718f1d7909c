"""Tests, in the order of the layers that they test."""
