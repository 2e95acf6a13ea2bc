"""The world to numbers."""
