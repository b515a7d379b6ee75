"""Runtara beside its peers. `python -m benchmarks` measures and prints; RESULTS.md keeps what was measured."""
