"""A reconstruction to numbers about how far it can be trusted: resolution, uncertainty, null test, detection."""
