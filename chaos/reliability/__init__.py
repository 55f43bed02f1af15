"""Reliability: the same faults against mlq and against the plain setup, in one harness and one run."""
