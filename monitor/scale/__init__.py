"""How latentwatch grows: what a load needs, and files scanned by a cluster."""
