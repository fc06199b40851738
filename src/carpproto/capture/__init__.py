"""Recordings of CARP: capture files, and what can be learned from them.

Import the modules by their names; this package imports none of them, so that whoever needs
one does not pay for the others.
"""
