"""What `python -m benchmarks gpu` measures, one question a file. All of it imports and runs small without a GPU."""
