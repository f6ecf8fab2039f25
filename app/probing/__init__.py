"""Probes in the service: jobs that outlive it, in processes of their own, behind all requests."""
