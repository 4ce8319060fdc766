"""Data in motion: sources, pairing, checks, shards, reading shards, archives."""
