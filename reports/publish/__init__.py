"""Runs, results and tables into MLflow."""
