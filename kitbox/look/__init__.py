"""A local web page to review photographs and record decisions."""
