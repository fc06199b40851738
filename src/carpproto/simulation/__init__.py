"""Clusters without machines."""
