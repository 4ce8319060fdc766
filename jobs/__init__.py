"""What is submitted: the verbs, and the wiring of Ray Train, Ray Data and MLflow behind them."""
