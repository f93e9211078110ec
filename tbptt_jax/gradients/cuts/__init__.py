"""Backward passes that are cut: the definition that one can read, and the engine that is as exact and faster."""
