"""What fused images are good for: a class of disease predicted from sources and fusions."""
