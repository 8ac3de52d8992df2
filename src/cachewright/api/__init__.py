"""The DCS v2 contract over HTTP.

What belongs here: who may ask, reading what is asked, the exact shape of the answer. What does not: decisions; a
route validates, calls one function below and shapes the answer.
"""
