"""Reliability: the same faults against mlq and against the plain setup, with one harness in one run."""
