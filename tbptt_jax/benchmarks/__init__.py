"""Speed, as ratios measured side by side in one run: ours against a peer, alternating, medians. They are no tests."""
