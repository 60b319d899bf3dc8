"""Run artifacts over labelled images, keep one ledger row an image, and compare ledgers in pairs."""
