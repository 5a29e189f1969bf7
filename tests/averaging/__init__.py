"""Tests of the running averages."""
