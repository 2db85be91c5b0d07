"""The slice of a fused volume at a tracked tip, sent to other systems by OpenIGTLink."""
