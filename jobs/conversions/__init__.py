"""Models of other projects as ours, and ours as theirs: one module a direction, behind `rddm convert`."""
