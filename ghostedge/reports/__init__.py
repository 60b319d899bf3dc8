"""Reports that a person can read, keep and print: one self-contained HTML file, with Markdown and JSON beside it."""
