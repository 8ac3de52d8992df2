"""One module per family of operations. A route validates, calls one function below and shapes the answer."""
