"""From rows to figures: only this and the experiments' `figures.py` import matplotlib."""
