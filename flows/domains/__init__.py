"""What domains publish: looked at, judged, published where we may, kept right."""
