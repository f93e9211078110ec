"""From rows to figures: the only place that imports matplotlib."""
