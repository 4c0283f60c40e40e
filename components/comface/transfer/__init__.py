"""Transfer (section 3.4, 4.2): data sets of photos to changes estimated by a backbone and a change head."""
