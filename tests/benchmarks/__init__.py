"""What things cost, measured: `python -m tests.benchmarks`. Nothing here is asserted."""
