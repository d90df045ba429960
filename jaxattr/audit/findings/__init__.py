"""The kinds of findings: one file each, one contract, `finder(ledger) -> list[Finding]`."""
