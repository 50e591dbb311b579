"""The data products, thin: read, judge or compute, write, say."""
