"""A small library of music of our own making, for people who want to try the platform and for the tests."""
