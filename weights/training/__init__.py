"""How the embedded models were made: scripts, not installed with the library."""
