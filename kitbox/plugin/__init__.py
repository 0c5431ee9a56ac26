"""What a plugin file may say, and how plugin files are found."""
