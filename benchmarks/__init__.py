"""The benchmarks, one question a file: ``python -m benchmarks`` answers all, ``python -m benchmarks.train`` one."""
