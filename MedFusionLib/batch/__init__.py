"""Many cases one after the other, on one machine or on a cluster."""
