"""Pages of docs/ that are written from the code."""

NOTE = "<!-- Written by ci/docs.py from the code; do not edit. -->\n\n"
