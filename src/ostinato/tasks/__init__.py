"""One readable file a task."""
