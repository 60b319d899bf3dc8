"""The gate of a user's CI: hold every change to a committed baseline of accuracy, size and cost."""
