"""The competition: its images and labels, its task, holdout and metric, its CSV format."""
