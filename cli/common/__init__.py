"""What the commands share: options, targets, output, progress, interruption."""
