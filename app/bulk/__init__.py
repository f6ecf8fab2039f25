"""Many documents at a time: files into a collection, and collections from engine to engine."""
