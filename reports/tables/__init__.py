"""The tables of tables.yaml: what fills them, and what writes them."""
