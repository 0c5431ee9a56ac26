"""Lists for the leaderboard: written, linted, packaged with a receipt, and made again."""
