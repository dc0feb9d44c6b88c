"""apollo-tui: supervise long agent rollouts, step in, mark, and export what is worth learning."""

__version__ = "0.1.0"
