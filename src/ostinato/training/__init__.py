"""The one training loop, its options, and the folder of a run."""
