"""The module's panel: its sections, its rules and its words."""
