"""Submissions: written, linted, packaged with a receipt, uploaded and made again."""
