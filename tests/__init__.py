"""Tests; a package, so that processes that tests start find what these are made of."""
