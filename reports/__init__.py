"""What the results look like: tables, figures, and their publication to MLflow. Reads files, computes no metric."""
