"""What a data set is made of: plans, shards, records, index, statistics, and what it says of itself."""
