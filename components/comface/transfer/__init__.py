"""Transfer (sections 3.4 and 4.2): estimates changes between photos of a data set with a backbone and a change head."""
