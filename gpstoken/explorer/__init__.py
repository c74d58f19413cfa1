"""The explorer: what can be done with the tokens of a photograph, and the page in the browser that does it."""
