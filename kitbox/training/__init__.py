"""The common runner, and what it steps through."""
