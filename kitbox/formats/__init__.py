"""CSV files of submissions: written, read, and checked as a leaderboard would."""
