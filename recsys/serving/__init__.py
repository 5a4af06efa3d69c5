"""What every fitted model can do: lists, reasons, newcomers, metrics."""
