"""Methods of fitted models: lists, reasons, newcomers, metrics."""
